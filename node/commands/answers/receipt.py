"""`openledger receipt`: what answers were made from, as their servers signed it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from node.client import Client
from node.commands.answers.asking import AnswerDocument, answer_document, read_receipt
from node.commands.base.account_signer import keys_options, signer_of
from node.commands.base.command import command_output, hash_of, pass_client
from node.commands.base.command_group import CommandGroup
from node.commands.base.documents import Planck
from node.commands.base.lookup import find_model
from node.commands.base.output import Output
from node.keys.keystore import Keystore
from runtime.codec.hexadecimal import to_hex
from runtime.crypto import ss58
from runtime.shared.receipts import Feedback


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """A receipt in a list."""

    receipt: str
    epoch: int
    sequence: int
    asker: str
    fee_planck: Planck
    tokens_out: int
    feedback: str | None
    """The asker's verdict, good or bad, where this node has one."""


@dataclass(frozen=True, slots=True)
class ReceiptsDocument:
    """The receipts of an epoch of a model."""

    model: int
    epoch: int
    receipts: tuple[ReceiptRow, ...]


@dataclass(frozen=True, slots=True)
class FeedbackDocument:
    """A verdict that the serving node has recorded."""

    receipt: str
    verdict: str


@click.group("receipt", cls=CommandGroup)
def receipt_command() -> None:
    """Show and list the receipts of answers."""


@receipt_command.command("show")
@click.argument("receipt")
@command_output(AnswerDocument)
@pass_client
def show(output: Output, client: Client, receipt: str) -> AnswerDocument:
    """Show what the answer behind RECEIPT was made from, and what it cost."""
    stored = client.serving.receipt(hash_of(receipt))
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
@click.option("--epoch", type=click.IntRange(0), help="The current epoch unless given.")
@command_output(ReceiptsDocument)
@pass_client
def list_receipts(
    output: Output, client: Client, model: str, epoch: int | None
) -> ReceiptsDocument:
    """List the receipts that the node has of a MODEL's epoch."""
    info = find_model(client, model)
    listed_epoch = client.api("AttributionApi_pool", info.id).epoch if epoch is None else epoch
    rows = []
    for entry in client.call("openledger_receipts", info.id, listed_epoch):
        receipt = read_receipt(entry["signedReceipt"]).receipt
        rows.append(
            ReceiptRow(
                receipt=entry["hash"],
                epoch=receipt.epoch,
                sequence=receipt.sequence,
                asker=ss58.encode(receipt.asker),
                fee_planck=Planck(receipt.fee_planck),
                tokens_out=receipt.tokens_out,
                feedback=entry["feedback"],
            )
        )
    return ReceiptsDocument(info.id, listed_epoch, tuple(rows))
