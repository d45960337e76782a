"""Who signs: development accounts by //Name, other keys from the keystore by name or address.

Passwords are asked for, or read from a file; never taken from the command line.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from genesis.accounts import AccountTextError, parse_account
from node.client.errors import LockedKeyError
from node.commands.base.command import refuse
from node.commands.base.foreign_text import printable
from node.keys.keystore import KeyNotFoundError, Keystore
from node.keys.password_file import is_open_to_others, open_to_others
from node.operations.config import default_base_path
from node.operations.data_folder import KEYSTORE_FOLDER
from runtime.crypto.keys import KeyKind, Keypair
from runtime.types.primitives import AccountId

F = TypeVar("F", bound=Callable[..., Any])

KEYS_VARIABLE: Final = "OPENLEDGER_KEYS"
PASSWORD_BYTES_MAX: Final = 4_096
ADDRESS_LENGTH_MIN: Final = 46
_DEVELOPMENT: Final = {
    "ed25519:": KeyKind.ED25519,
    "sr25519:": KeyKind.SR25519,
    "": KeyKind.ED25519,
}


def default_keys_folder() -> Path:
    """Return the folder of this user's keys: OPENLEDGER_KEYS, or one in the user's data."""
    if os.environ.get(KEYS_VARIABLE):
        return Path(os.environ[KEYS_VARIABLE])
    return default_base_path() / KEYSTORE_FOLDER


@dataclass(frozen=True, slots=True)
class Signer:
    """An account that may sign once its key is opened."""

    name: str
    account: AccountId
    keystore: Keystore
    password_file: Path | None

    def unlock(self) -> Keypair:
        """Return the key pair; asks for the password where there is one. Raises KeystoreError."""
        pair = development_pair(self.name)
        if pair is not None:
            return pair
        return self.keystore.load(self.name, read_password(self.password_file, self.name))


def keys_folder_option(function: F) -> F:
    """Add --keys, for commands that open no key."""

    @click.option(
        "--keys",
        "keys_folder",
        type=click.Path(path_type=Path),
        envvar=KEYS_VARIABLE,
        help="Folder of your keys.",
    )
    @functools.wraps(function)
    def run(*arguments: Any, keys_folder: Path | None, **options: Any) -> Any:
        keystore = Keystore(keys_folder or default_keys_folder())
        return function(*arguments, keystore=keystore, **options)

    return run  # type: ignore[return-value]


def keys_options(function: F) -> F:
    """Add --keys and --password-file."""
    password_option = click.option(
        "--password-file",
        type=click.Path(path_type=Path),
        envvar="OPENLEDGER_PASSWORD_FILE",
        help="Read the key's password from this file instead of asking.",
    )
    return keys_folder_option(password_option(function))


def signer_of(name: str, keystore: Keystore, password_file: Path | None) -> Signer:
    """Return the signer that a text names. Raises KeyNotFoundError."""
    pair = development_pair(name)
    account = pair.account if pair is not None else keystore.find(name).account
    return Signer(name, AccountId(account), keystore, password_file)


def account_of(text: str, keystore: Keystore | None = None) -> AccountId:
    """Return the account of an address, a development name, or the name of a key of yours."""
    try:
        return parse_account(text)
    except AccountTextError as error:
        if len(text) >= ADDRESS_LENGTH_MIN and text.isalnum():
            raise  # an address with a mistake in it, and no name
        try:
            return AccountId((keystore or Keystore(default_keys_folder())).find(text).account)
        except KeyNotFoundError as missing:
            raise AccountTextError(f"{error} {missing}") from None


def development_pair(text: str) -> Keypair | None:
    """Return the pair of a development account such as //Alice; None for other texts."""
    for prefix, kind in _DEVELOPMENT.items():
        if text.startswith(f"{prefix}//"):
            return Keypair.from_uri(text.removeprefix(prefix), kind)
    return None


def read_password(
    file: Path | None, name: str, *, is_new: bool = False, option: str = "--password-file"
) -> str:
    """Return a password from its file, which `option` names, or ask on the terminal.

    Raises LockedKeyError.
    """
    if file is not None:
        if is_open_to_others(file):
            click.echo(f"Warning: {open_to_others(file)}", err=True)
        data = file.read_bytes()[: PASSWORD_BYTES_MAX + 1]
        if len(data) > PASSWORD_BYTES_MAX:
            refuse(f"{file} is longer than {PASSWORD_BYTES_MAX} bytes and holds no password.")
        return data.decode(errors="replace").rstrip("\r\n")
    if not sys.stdin.isatty():
        why = (
            f"A new password of {name} is asked for and there is no terminal to ask on."
            if is_new
            else f"The key {name} needs its password and there is no terminal to ask on."
        )
        raise LockedKeyError(f"{why} Name a file that holds it with {option}.")
    label = f"{'New password' if is_new else 'Password'} of {printable(name)}"
    password: str = click.prompt(label, hide_input=True, confirmation_prompt=is_new, err=True)
    return password
