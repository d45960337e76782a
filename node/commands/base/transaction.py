"""The shared part of commands that spend: options, dry run, signature, submission, outcome.

A dry run comes before any password; the transaction's hash is printed before anything is awaited,
and Ctrl-C then ends the wait, not the transaction.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from genesis.amounts import format_amount, parse_amount
from node.client import (
    Client,
    Finalized,
    Included,
    InsufficientFundsError,
    RejectedError,
    Wait,
)
from node.client.sentences import dispatch_sentence
from node.commands.base.account_signer import Signer, keys_options, signer_of
from node.commands.base.command import SECONDS
from node.commands.base.documents import Fields, Planck
from node.commands.base.output import Output
from node.commands.base.values import show_fields
from node.keys.keystore import Keystore
from pallets.utility import Utility
from runtime.codec.hexadecimal import to_hex
from runtime.crypto.keys import Keypair
from runtime.errors import ExitCode
from runtime.frame.dispatch import Call
from runtime.frame.events import EventRecord

F = TypeVar("F", bound=Callable[..., Any])

_FAILED_CALLS: Final = (Utility.ItemFailed, Utility.BatchInterrupted)


@dataclass(frozen=True, slots=True)
class EventDocument:
    """An event of a pallet."""

    event: str
    fields: Fields


@dataclass(frozen=True, slots=True)
class DryRunDocument:
    """What a transaction would do now; nothing was signed or sent."""

    succeeds: bool
    error: str | None
    needs_funds: bool
    fee_planck: Planck
    free_before_planck: Planck
    free_after_planck: Planck
    held_before_planck: Planck
    held_after_planck: Planck
    events: tuple[EventDocument, ...]


@dataclass(frozen=True, slots=True)
class TransactionDocument:
    """A transaction that was sent; block, fee and events are known once it is in a block."""

    transaction: str
    status: str
    block_number: int | None
    block_hash: str | None
    fee_planck: Planck | None
    events: tuple[EventDocument, ...]


SPENDING_DOCUMENTS: Final = (TransactionDocument, DryRunDocument)

Spent = TransactionDocument | DryRunDocument
"""The document of a command that spends: of a dry run where --dry-run was given."""


@dataclass(frozen=True, slots=True)
class Spending:
    """Who pays, and how far the transaction is followed."""

    signer: Signer
    tip_planck: int
    is_dry_run: bool
    wait: Wait
    wait_s: float


def transaction_options(function: F) -> F:
    """Give a command's body `spending`, from --from, --tip, --dry-run, --wait, --keys."""

    @click.option(
        "--from", "sender", required=True, envvar="OPENLEDGER_FROM", help="Who signs and pays."
    )
    @click.option("--tip", default="0", help="Extra fee for priority, such as 1mOPEN.")
    @click.option("--dry-run", is_flag=True, help="Show fee, events and balance; send nothing.")
    @click.option(
        "--wait",
        type=click.Choice([str(wait) for wait in Wait]),
        default=str(Wait.INCLUDED),
        show_default=True,
        help="Return when sent, in a block, or final.",
    )
    @click.option("--wait-seconds", "wait_s", type=SECONDS, default=120.0, help="How long to wait.")
    @keys_options
    @functools.wraps(function)
    def run(
        *arguments: Any,
        sender: str,
        tip: str,
        dry_run: bool,
        wait: str,
        wait_s: float,
        keystore: Keystore,
        password_file: Path | None,
        **options: Any,
    ) -> Any:
        signer = signer_of(sender, keystore, password_file)
        spending = Spending(
            signer=signer,
            tip_planck=parse_amount(tip),
            is_dry_run=dry_run,
            wait=Wait(wait),
            wait_s=wait_s,
        )
        return function(*arguments, spending=spending, **options)

    return run  # type: ignore[return-value]


def spend(output: Output, client: Client, spending: Spending, call: Call) -> Spent:
    """Dry-run or sign, send and follow a call. Raises ClientError for what the chain refuses."""
    if spending.is_dry_run:
        return show_dry_run(output, client, spending, call)
    return transaction_document(*send(output, client, spending, call))


def send(
    output: Output,
    client: Client,
    spending: Spending,
    call: Call,
    pair: Keypair | None = None,
) -> tuple[str, Included | None]:
    """Sign, send and follow a call: (hash as text, the inclusion or None when not awaited).

    With `pair` given the key is not unlocked again.
    """
    signed = client.sign(call, pair or spending.signer.unlock(), tip=spending.tip_planck)
    transaction = to_hex(signed.hash)
    for problem in client.problems():
        output.note(f"Warning: the node is not ready, so this may wait. {problem}")

    def print_hash(status: str) -> None:
        if status == "submitted":
            output.note(f"Sent transaction {transaction}")

    try:
        outcome = client.submit(signed, spending.wait, wait_s=spending.wait_s, on_status=print_hash)
    except KeyboardInterrupt:
        output.note(f"Stopped waiting. The transaction {transaction} was sent and may still land.")
        sys.exit(ExitCode.MAY_LAND)
    if not isinstance(outcome, Included):
        return transaction, None
    if outcome.error is not None:
        error_class = InsufficientFundsError if outcome.needs_funds else RejectedError
        raise error_class(
            f"Block {outcome.block_number} holds the transaction {transaction}, but the call "
            f"failed. {outcome.error} The fee of {format_amount(outcome.fee_planck)} was paid."
        )
    failed = _note_failed_calls(output, client, outcome.events)
    if failed is not None:
        raise RejectedError(
            f"Block {outcome.block_number} holds the transaction {transaction}, but nothing was "
            f"done. {failed} The fee of {format_amount(outcome.fee_planck)} was paid."
        )
    return transaction, outcome


def _note_failed_calls(
    output: Output, client: Client, records: tuple[EventRecord, ...]
) -> str | None:
    """Say which calls of a batch failed; where all of them did, return so."""
    events = [record.event for record in records]
    failed = [each for each in events if isinstance(each, _FAILED_CALLS)]
    for each in failed:
        output.note(f"A call of the batch failed. {dispatch_sentence(client.machine, each.error)}")
    if not failed or any(isinstance(each, Utility.ItemCompleted) for each in events):
        return None
    return "Every call of the batch failed."


def show_dry_run(output: Output, client: Client, spending: Spending, call: Call) -> DryRunDocument:
    """Return the effects that a call would have; the command ends as the call itself would."""
    document = dry_run(client, spending, call, output)
    output.exit_code = exit_code_of(document)
    if document.error is not None:
        output.note(f"The chain would refuse this. {document.error}")
    return document


def exit_code_of(document: DryRunDocument) -> ExitCode:
    """Return the exit code with which the transaction of a dry run would end."""
    if document.succeeds:
        return ExitCode.OK
    return ExitCode.FUNDS if document.needs_funds else ExitCode.REJECTED


def dry_run(client: Client, spending: Spending, call: Call, output: Output) -> DryRunDocument:
    """Return the effects that a call would have."""
    result = client.dry_run(call, spending.signer.account, tip=spending.tip_planck)
    error = result.error or _note_failed_calls(output, client, result.events)
    return DryRunDocument(
        succeeds=error is None,
        error=error,
        needs_funds=result.needs_funds,
        fee_planck=Planck(result.fee_planck),
        free_before_planck=Planck(result.before.free),
        free_after_planck=Planck(result.after.free),
        held_before_planck=Planck(result.before.reserved),
        held_after_planck=Planck(result.after.reserved),
        events=event_documents(result.events),
    )


def transaction_document(transaction: str, landed: Included | None) -> TransactionDocument:
    """Return the document of a transaction that was sent."""
    if landed is None:
        return TransactionDocument(
            transaction=transaction,
            status="submitted",
            block_number=None,
            block_hash=None,
            fee_planck=None,
            events=(),
        )
    return TransactionDocument(
        transaction=transaction,
        status="final" if isinstance(landed, Finalized) else "included",
        block_number=landed.block_number,
        block_hash=to_hex(landed.block_hash),
        fee_planck=Planck(landed.fee_planck),
        events=event_documents(landed.events),
    )


def event_documents(records: tuple[EventRecord, ...]) -> tuple[EventDocument, ...]:
    """Return events by their names and fields."""
    return tuple(
        EventDocument(type(record.event).__qualname__, show_fields(record.event))
        for record in records
    )
