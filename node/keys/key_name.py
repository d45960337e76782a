"""The names of keys: what people call them, so nothing that reads as an account otherwise."""

from __future__ import annotations

from typing import Final

from runtime.crypto import ss58
from runtime.errors import ExitCode, OpenLedgerError

NAME_LENGTH_MAX: Final = 64


class KeyNameError(OpenLedgerError, ValueError):
    """A text cannot be the name of a key."""

    exit_code = ExitCode.USAGE


def check_name(name: str) -> None:
    """Refuse a text that cannot be the name of a key. Raises KeyNameError."""
    if not name.strip():
        raise KeyNameError("A key needs a name that is not empty, such as mine. Give it one.")
    if name != name.strip() or not name.isprintable():
        raise KeyNameError(
            f"{name!r:.80} is no name of a key: it begins or ends with a space, or has characters "
            "that cannot be printed. Write it without them."
        )
    # Commands take these for a development key, a public key or an address, so the key of that
    # name could not be named, or another account would be paid.
    if "//" in name or name.startswith("0x") or _is_address(name):
        raise KeyNameError(
            f"{name!r} cannot name a key, for commands read it as an address, a public key or a "
            "derivation path. Choose a plain word."
        )
    if len(name) > NAME_LENGTH_MAX:
        raise KeyNameError(
            f"The name {name[:20]!r}... has {len(name)} characters; a key's has at most "
            f"{NAME_LENGTH_MAX}. Shorten it."
        )


def _is_address(text: str) -> bool:
    try:
        ss58.decode(text)
    except ss58.AddressError:
        return False
    return True
