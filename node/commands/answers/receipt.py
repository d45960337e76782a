"""`openledger receipt`: what answers were made from, as their servers signed it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from node.client import Client
from node.client.asker_ledger import salt_of
from node.commands.answers.answer_documents import AnswerDocument, answer_document
from node.commands.answers.receipt_pages import server_of, signed_receipts_of
from node.commands.base.account_signer import keys_folder_option, keys_options, signer_of
from node.commands.base.command import command_output, hash_of, pass_client, refuse
from node.commands.base.command_group import CommandGroup
from node.commands.base.documents import Planck
from node.commands.base.lookup import find_model
from node.commands.base.output import Output
from node.keys.keystore import Keystore
from runtime.codec.hexadecimal import from_hex, to_hex
from runtime.crypto import ss58
from runtime.shared.receipts import SALT_BYTES, Feedback, receipt_hash


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """A receipt in a list."""

    receipt: str
    channel: int
    sequence: int
    asker: str
    fee_planck: Planck
    tokens_out: int
    feedback: str | None
    """The asker's verdict, good or bad, where this node has one."""


@dataclass(frozen=True, slots=True)
class ReceiptsDocument:
    """The receipts of an epoch of a model and server; of no epoch: those that are in none yet."""

    model: int
    server: str
    epoch: int | None
    receipts: tuple[ReceiptRow, ...]


@dataclass(frozen=True, slots=True)
class FeedbackDocument:
    """A verdict that the serving node has recorded."""

    receipt: str
    verdict: str


@click.group("receipt", cls=CommandGroup)
def receipt_command() -> None:
    """Show and list the receipts of answers."""


def read_salt(text: str | None) -> bytes | None:
    """Return the salt that a user gives as hexadecimal text."""
    if text is None:
        return None
    try:
        salt = from_hex(text)
    except ValueError:
        salt = b""
    if len(salt) != SALT_BYTES:
        refuse(f"--salt {text!r} is no salt: it has {SALT_BYTES} bytes as hexadecimal digits.")
    return salt


@receipt_command.command("show")
@click.argument("receipt")
@click.option("--salt", help="What opens its texts; from your books of channels unless given.")
@keys_folder_option
@command_output(AnswerDocument)
@pass_client
def show(
    output: Output, client: Client, receipt: str, salt: str | None, keystore: Keystore
) -> AnswerDocument:
    """Show what the answer behind RECEIPT was made from, and what it cost.

    The answer's text is shown only to who asked, by the salt in the books of channels.
    """
    identity = hash_of(receipt)
    known = read_salt(salt) or salt_of(keystore.folder, client.genesis_hash, identity)
    stored = client.serving.receipt(identity, known)
    if known is None:
        output.note("The text of this answer is its asker's: your books have no salt for it.")
    return answer_document(str(stored.details.get("answer", "")), stored)


@receipt_command.command("feedback")
@click.argument("receipt")
@click.argument("verdict", type=click.Choice(["good", "bad"]))
@click.option("--from", "sender", required=True, envvar="OPENLEDGER_FROM", help="Who asked.")
@keys_options
@command_output(FeedbackDocument)
@pass_client
def feedback(
    output: Output,
    client: Client,
    receipt: str,
    verdict: str,
    sender: str,
    keystore: Keystore,
    password_file: Path | None,
) -> FeedbackDocument:
    """Sign a verdict on your answer, which the server shows with its receipt.

    It costs nothing and moves no money; only the account that asked can give it.
    """
    identity = hash_of(receipt)
    pair = signer_of(sender, keystore, password_file).unlock()
    client.serving.feedback(Feedback(identity, verdict == "bad"), pair)
    return FeedbackDocument(to_hex(identity), verdict)


@receipt_command.command("list")
@click.argument("model")
@click.option("--server", help="The account that answered; the node's own unless given.")
@click.option("--epoch", type=click.IntRange(0), help="Those that are in none yet unless given.")
@command_output(ReceiptsDocument)
@pass_client
def list_receipts(
    output: Output, client: Client, model: str, server: str | None, epoch: int | None
) -> ReceiptsDocument:
    """List the receipts that the node has of an epoch of a MODEL and server."""
    info = find_model(client, model)
    account = server_of(client, server)
    rows = [
        ReceiptRow(
            receipt=to_hex(receipt_hash(signed.receipt)),
            channel=signed.channel,
            sequence=signed.sequence,
            asker=ss58.encode(signed.asker),
            fee_planck=Planck(signed.receipt.fee_planck),
            tokens_out=signed.receipt.tokens_out,
            feedback=verdict,
        )
        for signed, verdict in signed_receipts_of(client, info.id, account, epoch)
    ]
    return ReceiptsDocument(info.id, ss58.encode(account), epoch, tuple(rows))
