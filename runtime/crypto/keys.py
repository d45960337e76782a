"""Key pairs of both signature schemes, made from seeds, phrases and Substrate's secret URIs.

A secret URI is `phrase//hard/soft///password`: the phrase is a BIP-39 mnemonic or a 0x seed (the
well-known development phrase when left out), each `//` is a hard and each `/` a soft derivation.
ed25519 knows hard derivation only. This file knows nothing of files and passwords on disk.

Rules that hold here:
- `verify` is total: garbage answers False, it never raises.
- An ed25519 signature is accepted exactly as libsodium accepts it: s below the group order,
  canonical points, no small-order key or commitment, cofactorless equation. tests/vectors pins it.
- No secret appears in a repr or in an error message.
- Randomness is used by `generate_phrase`, sr25519 signing and sr25519 derivation only (the nonce
  half of the secret); executing a block calls none of them.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from hashlib import blake2b, pbkdf2_hmac
from typing import Final, Self

import sr25519
from mnemonic import Mnemonic
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import CryptoError

from runtime.errors import ExitCode, OpenLedgerError

DEV_PHRASE: Final = "bottom drive obey lake curtain smoke basket hold race lonely fit walk"
SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
ACCOUNT_BYTES: Final = 32
SECRET_BYTES: Final = 64

_PHRASE_ROUNDS: Final = 2048
_ENTROPY_BYTES: Final = {12: 16, 15: 20, 18: 24, 21: 28, 24: 32}
_URI: Final = re.compile(
    r"(?P<phrase>[^/]*)(?P<path>(?://?[^/]+)*)(?:///(?P<password>.*))?", re.DOTALL
)
_JUNCTION: Final = re.compile(r"/(/?)([^/]+)")
_NUMBER: Final = re.compile(r"\+?[0-9]+")


class KeyKind(IntEnum):
    """The signature scheme; the number is MultiSignature's variant."""

    ED25519 = 0
    SR25519 = 1


class SeedError(OpenLedgerError, ValueError):
    """A seed or a secret of the wrong size."""

    exit_code = ExitCode.USAGE


class PhraseError(OpenLedgerError, ValueError):
    """A text that is neither a valid BIP-39 mnemonic nor a 0x seed of 32 bytes."""

    exit_code = ExitCode.USAGE


class DerivationError(OpenLedgerError, ValueError):
    """A derivation path that is malformed or that the key kind does not support."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Keypair:
    """A secret key with its account (public key).

    `secret` has 64 bytes: for ed25519 seed ++ public key, for sr25519 scalar ++ nonce.
    """

    kind: KeyKind
    account: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def from_seed(cls, seed: bytes, kind: KeyKind = KeyKind.ED25519) -> Self:
        """Make the pair of a 32-byte seed; raises SeedError."""
        if len(seed) != SEED_BYTES:
            raise SeedError(f"A seed has {SEED_BYTES} bytes, not {len(seed)}. Check the seed.")
        if kind is KeyKind.ED25519:
            account, secret = crypto_sign_seed_keypair(seed)
        else:
            account, secret = sr25519.pair_from_seed(seed)
        return cls(kind, account, secret)

    @classmethod
    def from_uri(cls, uri: str, kind: KeyKind = KeyKind.ED25519) -> Self:
        """Make the pair of a secret URI such as "//Alice"; raises PhraseError, DerivationError."""
        match = _URI.fullmatch(uri)
        if match is None:
            raise DerivationError(
                "The derivation path is malformed. Write phrase//hard/soft///password."
            )
        seed = _seed_of(match["phrase"] or DEV_PHRASE, match["password"] or "")
        junctions = _JUNCTION.findall(match["path"])
        if kind is KeyKind.ED25519:
            for hard, code in junctions:
                seed = _derive_ed25519(seed, bool(hard), _chain_code(code))
            return cls.from_seed(seed, kind)
        account, secret = sr25519.pair_from_seed(seed)
        for hard, code in junctions:
            derive = sr25519.hard_derive_keypair if hard else sr25519.derive_keypair
            _, account, secret = derive((_chain_code(code), account, secret), b"")
        return cls(kind, account, secret)

    @classmethod
    def generate(cls, kind: KeyKind = KeyKind.ED25519, words: int = 12) -> tuple[Self, str]:
        """Make a random pair and return it with the mnemonic phrase that restores it."""
        phrase = generate_phrase(words)
        return cls.from_uri(phrase, kind), phrase

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of `message`."""
        if self.kind is KeyKind.ED25519:
            return crypto_sign(message, self.secret)[:SIGNATURE_BYTES]
        signature: bytes = sr25519.sign((self.account, self.secret), message)
        return signature


def verify(kind: int, signature: bytes, message: bytes, account: bytes) -> bool:
    """Return whether `signature` of `message` is by `account`; False for anything malformed."""
    # The bindings read fixed lengths from C, so the sizes are checked before they see a byte.
    if len(signature) != SIGNATURE_BYTES or len(account) != ACCOUNT_BYTES:
        return False
    if kind == KeyKind.ED25519:
        try:
            crypto_sign_open(signature + message, account)
        except CryptoError:
            return False
        return True
    if kind == KeyKind.SR25519:
        try:
            return bool(sr25519.verify(signature, message, account))
        except ValueError:
            return False
    return False


def generate_phrase(words: int) -> str:
    """Return a new random mnemonic of 12, 15, 18, 21 or 24 words; raises PhraseError."""
    if words not in _ENTROPY_BYTES:
        raise PhraseError(f"A phrase has 12, 15, 18, 21 or 24 words, not {words}.")
    return _english().to_mnemonic(secrets.token_bytes(_ENTROPY_BYTES[words]))


def _seed_of(phrase: str, password: str) -> bytes:
    """Return the 32-byte seed of a 0x seed or of a mnemonic (Substrate's entropy PBKDF2)."""
    if phrase.startswith("0x"):
        try:
            seed = bytes.fromhex(phrase[2:])
        except ValueError:
            seed = b""
        if len(seed) != SEED_BYTES:
            raise PhraseError("A seed is written as 0x and 64 hexadecimal digits. Check it.")
        return seed
    normal = " ".join(phrase.split())
    if not _english().check(normal):
        raise PhraseError(f"The phrase is not a valid mnemonic: {_fault_of(normal.split())}")
    entropy = bytes(_english().to_entropy(normal))
    # Substrate stretches the entropy where BIP-39 stretches the words, and takes the first half.
    # The password is not Unicode-normalized, as in substrate-bip39.
    salt = b"mnemonic" + password.encode()
    return pbkdf2_hmac("sha512", entropy, salt, _PHRASE_ROUNDS)[:SEED_BYTES]


def _fault_of(words: Sequence[str]) -> str:
    """Return what is wrong with a phrase; unknown words by their place, for they are secret."""
    if len(words) not in _ENTROPY_BYTES:
        return f"it has {len(words)} words, not 12, 15, 18, 21 or 24. Check that none is missing."
    known = _english().wordlist
    unknown = [str(place) for place, word in enumerate(words, start=1) if word not in known]
    if unknown:
        return (
            f"no word of the list stands at place {', '.join(unknown)}. Check the spelling there; "
            "all letters are small."
        )
    return (
        "all words are known, but the checksum is wrong. Check the order of the words, and whether "
        "one stands in the place of a similar one."
    )


def _derive_ed25519(seed: bytes, hard: bool, chain_code: bytes) -> bytes:
    if not hard:
        raise DerivationError(
            "ed25519 keys have no soft derivation. Write the step with two slashes, or use sr25519."
        )
    label = b"Ed25519HDKD"
    return blake2b(
        bytes([len(label) << 2]) + label + seed + chain_code, digest_size=SEED_BYTES
    ).digest()


def _chain_code(code: str) -> bytes:
    """Return the 32-byte chain code of one path step: a u64, or a SCALE text, zero-padded."""
    if _NUMBER.fullmatch(code) and int(code) < 1 << 64:
        return int(code).to_bytes(32, "little")
    text = code.encode()
    encoded = _compact(len(text)) + text
    if len(encoded) > 32:
        return blake2b(encoded, digest_size=32).digest()
    return encoded.ljust(32, b"\0")


def _compact(length: int) -> bytes:
    # Two of the four SCALE forms are enough: no junction is longer than 16383 bytes.
    if length < 64:
        return bytes([length << 2])
    if length < 1 << 14:
        return (length << 2 | 1).to_bytes(2, "little")
    raise DerivationError("A derivation step is longer than 16383 bytes. Shorten it.")


@cache
def _english() -> Mnemonic:
    return Mnemonic("english")
