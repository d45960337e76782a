"""`openledger key remove | rename | change-password`: changes of the keys on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from node.commands.base.account_signer import keys_folder_option, keys_options, read_password
from node.commands.base.command import command_output, confirm, yes_option
from node.commands.base.output import Output
from node.commands.wallet.key_document import KeyDocument, key_document
from node.keys.keystore import Keystore


@dataclass(frozen=True, slots=True)
class RemovedKeyDocument:
    """A key whose file was deleted."""

    name: str
    address: str
    removed: str


@click.command("remove")
@click.argument("key")
@yes_option
@keys_folder_option
@command_output(RemovedKeyDocument)
def remove(output: Output, key: str, yes: bool, keystore: Keystore) -> RemovedKeyDocument:
    """Delete KEY's file for good; only its phrase or another copy brings the key back."""
    entry = keystore.find(key)
    question = (
        f"Delete the key {entry.name or entry.address} ({entry.address})? Without its phrase or "
        "a copy of its file, what the account owns is lost."
    )
    confirm(question, is_given=yes)
    keystore.remove(entry.address)
    return RemovedKeyDocument(entry.name, entry.address, str(entry.path))


@click.command("rename")
@click.argument("key")
@click.argument("new_name")
@keys_folder_option
@command_output(KeyDocument)
def rename(output: Output, key: str, new_name: str, keystore: Keystore) -> KeyDocument:
    """Call KEY by NEW_NAME. Its address and its password stay."""
    return key_document(keystore.rename(key, new_name))


@click.command("change-password")
@click.argument("key")
@click.option(
    "--new-password-file",
    type=click.Path(path_type=Path),
    help="Read the new password from this file instead of asking.",
)
@keys_options
@command_output(KeyDocument)
def change_password(
    output: Output,
    key: str,
    new_password_file: Path | None,
    keystore: Keystore,
    password_file: Path | None,
) -> KeyDocument:
    """Seal KEY by a new password; --password-file names the present one."""
    name = keystore.find(key).name or key
    password = read_password(password_file, name)
    keystore.load(key, password)  # a wrong password is told before a new one is asked for
    new_password = read_password(new_password_file, name, is_new=True, option="--new-password-file")
    document = key_document(keystore.change_password(key, password, new_password))
    output.note("Copies of the file that were made before open by the former password still.")
    return document
