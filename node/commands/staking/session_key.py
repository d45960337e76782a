"""The session key as commands handle it: among the node's own keys, not those of the user.

A validator's votes are signed only by this key; it holds no money. It lies encrypted in
BASE_PATH/keys, where the node looks for it, or is a development key such as //Alice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from node.commands.base.account_signer import development_pair, read_password
from node.commands.base.command import refuse
from node.commands.staking.validator_records import SessionKeyDocument
from node.keys.keystore import KeyEntry, KeyNotFoundError, Keystore
from node.operations.data_folder import KEYSTORE_FOLDER
from runtime.codec.hexadecimal import to_hex
from runtime.crypto.keys import KeyKind, Keypair

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_NAME: Final = "session"

base_path_option = click.option(
    "--base-path", type=click.Path(path_type=Path), help="The node's folder; its keys are there."
)
session_key_option = click.option(
    "--session-key",
    "session_name",
    default=DEFAULT_NAME,
    show_default=True,
    help="The key's name in BASE_PATH/keys, or //Alice on devnets.",
)
session_password_option = click.option(
    "--session-password-file",
    "session_password",
    type=click.Path(path_type=Path),
    help="Opens the session key; asked for unless given.",
)


@dataclass(frozen=True, slots=True)
class SessionKey:
    """A session key that may not exist yet."""

    name: str
    keystore: Keystore
    password_file: Path | None

    @property
    def is_development(self) -> bool:
        """Return whether the key is publicly known."""
        return self.name.startswith("//")

    def public(self) -> bytes | None:
        """Return the public key without opening the secret; None where there is no such key."""
        pair = development_pair(self.name) if self.is_development else None
        if pair is not None:
            return pair.account
        entry = self._entry()
        return None if entry is None else entry.account

    def unlock(self) -> Keypair:
        """Return the key pair. Raises KeystoreError."""
        pair = development_pair(self.name) if self.is_development else None
        if pair is not None:
            return pair
        self._entry()
        return self.keystore.load(self.name, read_password(self.password_file, self.name))

    def generate(self) -> Keypair:
        """Make the key and store it encrypted. Raises KeystoreError."""
        password = read_password(self.password_file, self.name, is_new=True)
        pair, _ = Keypair.generate(KeyKind.ED25519)
        self.keystore.add(pair, password, self.name)
        return pair

    def document(self, *, is_new: bool = False) -> SessionKeyDocument:
        """Return the public document of a key that exists."""
        entry, public = None if self.is_development else self._entry(), self.public()
        assert public is not None, "a key that exists has a public half"
        file = None if entry is None else str(entry.path)
        return SessionKeyDocument(self.name, to_hex(public), file, is_new)

    def _entry(self) -> KeyEntry | None:
        try:
            entry = self.keystore.find(self.name)
        except KeyNotFoundError:
            return None
        if entry.kind is not KeyKind.ED25519:
            refuse(f"Validators vote with ed25519 keys; {self.name} is sr25519. Name another key.")
        return entry


def session_key_of(name: str, base_path: Path, password_file: Path | None) -> SessionKey:
    """Return the session key of a node's folder. Raises UsageError for what is no name."""
    if not name.strip():
        refuse("A session key has a name, such as session. Give one with --session-key.")
    return SessionKey(name, Keystore(base_path / KEYSTORE_FOLDER), password_file)
