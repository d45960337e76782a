"""`openledger receipt`: what answers were made from, as their servers signed it."""

from __future__ import annotations

from dataclasses import dataclass

import click

from node.client import Client
from node.commands.asking import AnswerDocument, answer_document, read_receipt
from node.commands.documents import Planck
from node.commands.frame import connects, hash_of, reports
from node.commands.model_records import find_model
from node.commands.output import Output
from runtime import ss58


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """A receipt in a list."""

    receipt: str
    epoch: int
    sequence: int
    asker: str
    fee_planck: Planck
    tokens_out: int


@dataclass(frozen=True, slots=True)
class ReceiptsDocument:
    """The receipts of an epoch of a model."""

    model: int
    epoch: int
    receipts: tuple[ReceiptRow, ...]


@click.group("receipt")
def receipt_command() -> None:
    """Show and list the receipts of answers."""


@receipt_command.command("show")
@click.argument("receipt")
@reports(AnswerDocument)
@connects
def show(output: Output, client: Client, receipt: str) -> AnswerDocument:
    """Show what the answer behind RECEIPT was made from, and what it cost."""
    stored = client.serving.receipt(hash_of(receipt))
    return answer_document(str(stored.details.get("answer", "")), stored)


@receipt_command.command("list")
@click.argument("model")
@click.option("--epoch", type=click.IntRange(0), help="The current epoch unless given.")
@reports(ReceiptsDocument)
@connects
def list_receipts(
    output: Output, client: Client, model: str, epoch: int | None
) -> ReceiptsDocument:
    """List the receipts that the node has of a MODEL's epoch."""
    info = find_model(client, model)
    wanted = client.api("AttributionApi_pool", info.id).epoch if epoch is None else epoch
    rows = []
    for entry in client.call("openledger_receipts", info.id, wanted):
        receipt = read_receipt(entry["signedReceipt"]).receipt
        rows.append(
            ReceiptRow(
                entry["hash"],
                receipt.epoch,
                receipt.sequence,
                ss58.encode(receipt.asker),
                Planck(receipt.fee_planck),
                receipt.tokens_out,
            )
        )
    return ReceiptsDocument(info.id, wanted, tuple(rows))
