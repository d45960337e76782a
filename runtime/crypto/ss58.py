"""SS58, the text form of an account: base58 over prefix, account and a short checksum.

The prefix names the network (42 means any). Prefixes below 64 take one byte, those up to 16383
take two. Only 32-byte accounts exist on this chain, so `decode` refuses the shorter forms of the
format, and it refuses every text that `encode` would not have written.
Source: the SS58 registry's format description.
"""

from hashlib import blake2b
from typing import Final

ACCOUNT_BYTES: Final = 32
DEFAULT_PREFIX: Final = 42
PREFIX_LIMIT: Final = 1 << 14
RESERVED_PREFIXES: Final = (46, 47)

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGIT: Final = {letter: value for value, letter in enumerate(_ALPHABET)}
_CHECKSUM_BYTES: Final = 2
_LONGEST_TEXT: Final = 64


class AddressError(ValueError):
    """A text is not the SS58 address of an account, or a prefix or account cannot be written."""


def encode(account: bytes, prefix: int = DEFAULT_PREFIX) -> str:
    """Write a 32-byte account as an SS58 address; raises AddressError."""
    if len(account) != ACCOUNT_BYTES:
        raise AddressError(
            f"An account has {ACCOUNT_BYTES} bytes, not {len(account)}. Pass the public key itself."
        )
    body = _prefix_bytes(prefix) + account
    return _base58_encode(body + _checksum(body))


def decode(text: str, prefix: int | None = None) -> bytes:
    """Read the 32-byte account of an SS58 address; raises AddressError.

    With `prefix` given, an address of another network is refused.
    """
    raw = _base58_decode(text)
    found, prefix_bytes = _read_prefix(raw)
    if len(raw) != prefix_bytes + ACCOUNT_BYTES + _CHECKSUM_BYTES:
        raise AddressError("The address does not hold a 32-byte account. Check that it is whole.")
    account = raw[prefix_bytes:-_CHECKSUM_BYTES]
    if encode(account, found) != text:
        raise AddressError("The address has a wrong checksum. Check it for a mistyped letter.")
    if prefix is not None and found != prefix:
        raise AddressError(
            f"The address belongs to network prefix {found}, this chain uses {prefix}. "
            "Ask for the address on this chain."
        )
    return account


def _prefix_bytes(prefix: int) -> bytes:
    if not 0 <= prefix < PREFIX_LIMIT or prefix in RESERVED_PREFIXES:
        raise AddressError(
            f"{prefix} is not an SS58 network prefix. "
            f"Use 0 to {PREFIX_LIMIT - 1} without 46 and 47."
        )
    if prefix < 64:
        return bytes([prefix])
    return bytes([(prefix & 0xFC) >> 2 | 0x40, prefix >> 8 | (prefix & 0x03) << 6])


def _read_prefix(raw: bytes) -> tuple[int, int]:
    """Return the network prefix and how many bytes it takes."""
    if len(raw) < 2 or raw[0] >= 128:
        raise AddressError("The address has no valid network prefix. Check that it is whole.")
    if raw[0] < 64:
        return raw[0], 1
    low = (raw[0] << 2 | raw[1] >> 6) & 0xFF
    return low | (raw[1] & 0x3F) << 8, 2


def _checksum(body: bytes) -> bytes:
    return blake2b(b"SS58PRE" + body).digest()[:_CHECKSUM_BYTES]


def _base58_encode(raw: bytes) -> str:
    number = int.from_bytes(raw, "big")
    letters: list[str] = []
    while number:
        number, digit = divmod(number, 58)
        letters.append(_ALPHABET[digit])
    zeros = len(raw) - len(raw.lstrip(b"\0"))
    return _ALPHABET[0] * zeros + "".join(reversed(letters))


def _base58_decode(text: str) -> bytes:
    if len(text) > _LONGEST_TEXT:
        raise AddressError(f"The address is longer than {_LONGEST_TEXT} letters. Check it.")
    number = 0
    for letter in text:
        digit = _DIGIT.get(letter)
        if digit is None:
            raise AddressError(f"{letter!r} is not a base58 letter. Check the address.")
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip(_ALPHABET[0]))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
