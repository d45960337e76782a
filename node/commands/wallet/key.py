"""`openledger key`: encrypted keys on this machine, exchanged with wallets as polkadot.js v3 JSON.

Passwords and phrases come from a hidden prompt or a file, never from the command line.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from node.client.errors import LockedKeyError
from node.commands.base.account_signer import (
    account_of,
    development_pair,
    keys_folder_option,
    keys_options,
    read_password,
)
from node.commands.base.command import command_output, refuse
from node.commands.base.command_group import CommandGroup
from node.commands.base.output import Output
from node.commands.wallet.key_changes import change_password, remove, rename
from node.commands.wallet.key_document import KeyDocument, account_document, key_document
from node.commands.wallet.key_signing import sign, verify
from node.keys.key_name import check_name
from node.keys.keystore import (
    FILE_BYTES_MAX,
    FILE_MODE,
    LIGHT_COST,
    KeyNotFoundError,
    Keystore,
    seal,
    unseal,
)
from runtime.crypto.keys import KeyKind, Keypair

PHRASE_BYTES_MAX: Final = 1_024
PHRASE_SPACES_MIN: Final = 2
"""A text of three and more words is a phrase, perhaps a wrong one, and no name of a key."""
KINDS: Final = tuple(kind.name.lower() for kind in KeyKind)

kind_option = click.option(
    "--kind", type=click.Choice(KINDS), default="ed25519", show_default=True, help="Key scheme."
)


@dataclass(frozen=True, slots=True)
class NewKeyDocument:
    """A new key with the phrase that restores it. Write the phrase down; it is not stored."""

    name: str
    address: str
    public_key: str
    kind: str
    file: str
    phrase: str


@dataclass(frozen=True, slots=True)
class KeysDocument:
    """The keys of a folder."""

    folder: str
    keys: tuple[KeyDocument, ...]


@click.group("key", cls=CommandGroup)
def key_command() -> None:
    """Make, keep, use and exchange keys."""


for command in (remove, rename, change_password, sign, verify):
    key_command.add_command(command)


@key_command.command("generate")
@click.argument("name")
@kind_option
@click.option("--words", type=click.Choice(["12", "15", "18", "21", "24"]), default="12")
@keys_options
@command_output(NewKeyDocument)
def generate(
    output: Output,
    name: str,
    kind: str,
    words: str,
    keystore: Keystore,
    password_file: Path | None,
) -> NewKeyDocument:
    """Make a new key called NAME and print its phrase once."""
    check_name(name)
    password = read_password(password_file, name, is_new=True)
    pair, phrase = Keypair.generate(_kind(kind), int(words))
    entry = keystore.add(pair, password, name)
    output.note("Write the phrase down and keep it secret: whoever has it has the key.")
    document = key_document(entry)
    return NewKeyDocument(
        name=document.name,
        address=document.address,
        public_key=document.public_key,
        kind=document.kind,
        file=str(entry.path),
        phrase=phrase,
    )


@key_command.command("import")
@click.argument("name")
@kind_option
@click.option(
    "--phrase-file", type=click.Path(path_type=Path), help="File with a phrase, 0x seed or URI."
)
@click.option(
    "--wallet-file", type=click.Path(path_type=Path), help="JSON file of a polkadot.js wallet."
)
@keys_options
@command_output(KeyDocument)
def import_key(
    output: Output,
    name: str,
    kind: str,
    phrase_file: Path | None,
    wallet_file: Path | None,
    keystore: Keystore,
    password_file: Path | None,
) -> KeyDocument:
    """Store a key of yours as NAME: from a phrase (asked for) or a wallet's file."""
    check_name(name)
    if wallet_file is not None:
        if phrase_file is not None:
            refuse("Give either --phrase-file or --wallet-file, not both.")
        password = read_password(password_file, str(wallet_file))
        pair = unseal(_read_text(wallet_file, FILE_BYTES_MAX), password)
    else:
        pair = Keypair.from_uri(_read_phrase(phrase_file), _kind(kind))
        password = read_password(password_file, name, is_new=True)
    return key_document(keystore.add(pair, password, name))


@key_command.command("list")
@keys_folder_option
@command_output(KeysDocument)
def list_keys(output: Output, keystore: Keystore) -> KeysDocument:
    """List your keys."""
    keys = tuple(key_document(entry) for entry in keystore.entries())
    return KeysDocument(str(keystore.folder), keys)


@key_command.command("inspect")
@click.argument("key", required=False)
@click.option(
    "--phrase-file", type=click.Path(path_type=Path), help="File with a phrase, 0x seed or URI."
)
@kind_option
@keys_folder_option
@command_output(KeyDocument)
def inspect(
    output: Output,
    key: str | None,
    phrase_file: Path | None,
    kind: str,
    keystore: Keystore,
) -> KeyDocument:
    """Show address and public key of KEY: a name, an address, a 0x public key, //Alice or a phrase.

    Nothing is stored. Without KEY the phrase is asked for, or read from a file: on the command line
    it stays in the shell's history. The --kind says which key a phrase stands for.
    """
    if key is not None and phrase_file is not None:
        refuse("Give either KEY or --phrase-file, not both.")
    if key is None:
        pair = Keypair.from_uri(_read_phrase(phrase_file), _kind(kind))
        return account_document(pair.account, kind)
    if key.strip().count(" ") >= PHRASE_SPACES_MIN:
        output.note(
            "The phrase stands in your shell's history now. Leave it out next time, and it is "
            "asked for; or name a file with --phrase-file."
        )
        return account_document(Keypair.from_uri(key, _kind(kind)).account, kind)
    try:
        return key_document(keystore.find(key))
    except KeyNotFoundError:
        development = development_pair(key)
        account = account_of(key, keystore)
        found_kind = "" if development is None else development.kind.name.lower()
        return account_document(account, found_kind)


@key_command.command("export")
@click.argument("key")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The file to write; it is new."
)
@keys_options
@command_output(KeyDocument)
def export(
    output: Output, key: str, out: Path, keystore: Keystore, password_file: Path | None
) -> KeyDocument:
    """Write KEY to a file that polkadot.js wallets import, under the same password."""
    entry = keystore.find(key)
    password = read_password(password_file, key)
    pair = keystore.load(key, password)
    text = seal(pair, password, name=entry.name, cost=LIGHT_COST)
    try:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    except FileExistsError:
        refuse(f"{out} exists already. Name a new file; nothing was overwritten.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    document = key_document(entry)
    return KeyDocument(
        name=document.name,
        address=document.address,
        public_key=document.public_key,
        kind=document.kind,
        file=str(out),
    )


def _kind(name: str) -> KeyKind:
    return KeyKind[name.upper()]


def _read_phrase(file: Path | None) -> str:
    if file is not None:
        return _read_text(file, PHRASE_BYTES_MAX).strip()
    if not sys.stdin.isatty():
        raise LockedKeyError(
            "The phrase is asked for on a terminal and there is none. "
            "Name a file that holds it with --phrase-file."
        )
    phrase: str = click.prompt("Phrase, 0x seed or secret URI", hide_input=True, err=True)
    return phrase.strip()


def _read_text(file: Path, size_max: int) -> str:
    with file.open("rb") as opened:
        data = opened.read(size_max + 1)
    if len(data) > size_max:
        refuse(f"{file} is longer than {size_max} bytes, so it is not what is wanted here.")
    return data.decode(errors="replace")
