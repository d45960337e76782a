"""A key as the commands print it."""

from __future__ import annotations

from dataclasses import dataclass

from node.keys.key_name import KeyNameError, check_name
from node.keys.keystore import KeyEntry
from runtime.codec.hexadecimal import to_hex
from runtime.crypto import ss58


@dataclass(frozen=True, slots=True)
class KeyDocument:
    """A key: its name, address, public key and file; no secret."""

    name: str
    address: str
    public_key: str
    kind: str
    file: str | None


def key_document(entry: KeyEntry) -> KeyDocument:
    """Return the document of a key of the keystore."""
    return KeyDocument(
        name=_name_of(entry),
        address=entry.address,
        public_key=to_hex(entry.account),
        kind=entry.kind.name.lower(),
        file=str(entry.path),
    )


def _name_of(entry: KeyEntry) -> str:
    """Return a key's name; one that no command could mean is shown as a text that is none."""
    try:
        check_name(entry.name)
    except KeyNameError:
        return f"{entry.name!r} (no usable name; use the address)" if entry.name else ""
    return entry.name


def account_document(account: bytes, kind: str) -> KeyDocument:
    """Return the document of a public key that has no file here."""
    return KeyDocument(
        name="", address=ss58.encode(account), public_key=to_hex(account), kind=kind, file=None
    )
