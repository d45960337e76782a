"""Development accounts: the well-known phrase's //Alice to //Ferdie, in both key types."""

from __future__ import annotations

from runtime.crypto import ss58
from runtime.crypto.keys import KeyKind, Keypair
from runtime.errors import ExitCode, OpenLedgerError
from runtime.types.primitives import AccountId

NAMES = ("Alice", "Bob", "Charlie", "Dave", "Eve", "Ferdie")
_PREFIXES = {"ed25519:": KeyKind.ED25519, "sr25519:": KeyKind.SR25519}


class AccountTextError(OpenLedgerError, ValueError):
    """A text names no account."""

    exit_code = ExitCode.USAGE


def parse_account(text: str) -> AccountId:
    """Return the account that a text names.

    `//Alice` and `ed25519://Alice` are ed25519 development accounts, `sr25519://Alice` the sr25519
    ones; else an SS58 address or 0x and 64 hex digits. Raises AccountTextError.
    """
    for prefix, kind in _PREFIXES.items():
        if text.startswith(prefix):
            return _development(text[len(prefix) :], kind)
    if text.startswith("//"):
        return _development(text, KeyKind.ED25519)
    try:
        account = bytes.fromhex(text[2:]) if text.startswith("0x") else ss58.decode(text)
    except ValueError as error:
        raise AccountTextError(
            f"{text!r} is no account ({error}). Use an SS58 address, 0x with 64 hex digits, "
            "or //Alice for a development account."
        ) from error
    if len(account) != 32:
        raise AccountTextError(f"{text!r} has {len(account)} bytes; an account has 32.")
    return AccountId(account)


def _development(uri: str, kind: KeyKind) -> AccountId:
    try:
        return AccountId(Keypair.from_uri(uri, kind).account)
    except ValueError as error:
        raise AccountTextError(f"{uri!r} is no derivation path: {error}") from error
