"""`openledger verify`: replays everything behind receipts, and prints each step with its method.

No answer of the node is trusted: commitments of the chain are proven against a header,
files are checked against their ids, and the rest is computed again on this machine. Receipts of one
index job share model, rows and the replay of the index, so many cost little more than one.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.client import Client
from node.client.recording import Recording
from node.commands.answers.receipt import read_salt
from node.commands.answers.receipt_pages import server_of, signed_receipts_of
from node.commands.base.account_signer import keys_folder_option
from node.commands.base.command import command_output, hash_of, pass_client, refuse
from node.commands.base.lookup import find_model
from node.commands.base.output import Output
from node.keys.keystore import Keystore
from runtime.codec.hexadecimal import to_hex
from runtime.errors import ExitCode
from runtime.shared.receipts import receipt_hash
from runtime.types.primitives import Hash

if TYPE_CHECKING:
    from node.commands.answers.verifying import Verification


@dataclass(frozen=True, slots=True)
class CheckRow:
    """A step: `passed` is null when this machine lacks what the step needs."""

    step: str
    passed: bool | None
    how: str
    detail: str


@dataclass(frozen=True, slots=True)
class VerificationDocument:
    """A replayed receipt: `holds` unless a step failed."""

    receipt: str
    model: int
    holds: bool
    passed: int
    failed: int
    not_checked: int
    checks: tuple[CheckRow, ...]


@dataclass(frozen=True, slots=True)
class VerificationsDocument:
    """Replayed receipts: `holds` unless a step of one failed."""

    holds: bool
    receipts: tuple[VerificationDocument, ...]


@click.command("verify")
@click.argument("receipts", nargs=-1, metavar="[RECEIPT]...")
@click.option("--model", help="Every receipt that the node has of an epoch of this model.")
@click.option("--epoch", type=click.IntRange(0), help="Of which; those in none yet unless given.")
@click.option("--server", help="With --model: who answered; the node's own account unless given.")
@click.option("--salt", help="What opens the texts; from your books of channels unless given.")
@click.option("--quick", is_flag=True, help="Leave out what needs the model and the rows.")
@click.option("--base-model", help="Folder of the base model; the shipped one unless given.")
@click.option("--save", type=click.Path(path_type=Path), help="Keep all that is needed here.")
@click.option("--offline", type=click.Path(path_type=Path), help="Use such a folder, no node.")
@keys_folder_option
@command_output(VerificationsDocument)
@pass_client
def verify_command(
    output: Output,
    client: Client,
    receipts: tuple[str, ...],
    model: str | None,
    epoch: int | None,
    server: str | None,
    salt: str | None,
    quick: bool,
    base_model: str | None,
    save: Path | None,
    offline: Path | None,
    keystore: Keystore,
) -> None:
    """Replay everything behind each RECEIPT and print the checks; exit 1 when one fails."""
    from node.commands.answers.verifying import Verifier

    if save is not None and offline is not None:
        refuse("Give either --save or --offline, not both.")
    if model is None and epoch is not None:
        refuse("Name the model of the epoch with --model.")
    identities = [hash_of(receipt) for receipt in receipts]
    if save is not None:
        client.use_recording(Recording(save, is_replaying=False))
    if offline is not None:
        client.use_recording(Recording(offline, is_replaying=True))
    if model is not None:
        identities += _listed(client, model, server, epoch)
    if not identities:
        refuse("Name a receipt, or a model with --model. `openledger receipt list` shows them.")
    verifier = Verifier(
        output,
        client,
        is_quick=quick,
        base_model=base_model,
        keys_folder=keystore.folder,
        salt=read_salt(salt),
    )
    documents: list[VerificationDocument] = []
    for identity in dict.fromkeys(identities):
        document = _document(identity, verifier.verify(identity))
        _print_receipt(output, document, is_first=not documents)
        documents.append(document)
    failed = [document.receipt for document in documents if not document.holds]
    if output.as_json:
        output.show(VerificationsDocument(not failed, tuple(documents)))
    if failed:
        output.note(f"{len(failed)} of {len(documents)} receipts do not hold:")
        for document in documents:
            if not document.holds:
                output.note(f"{document.receipt}: {_failing(document)}")
        sys.exit(ExitCode.REJECTED)


def _listed(client: Client, model: str, server: str | None, epoch: int | None) -> list[Hash]:
    """Return the ids of all receipts that the node has of an epoch."""
    info = find_model(client, model)
    listed = list(signed_receipts_of(client, info.id, server_of(client, server), epoch))
    if not listed:
        which = "that is in no epoch yet" if epoch is None else f"of epoch {epoch}"
        refuse(f"The node has no receipt {which} of {info.model.name!r}.")
    return [receipt_hash(signed.receipt) for signed, _ in listed]


def _document(identity: Hash, verification: Verification) -> VerificationDocument:
    rows = tuple(
        CheckRow(step.name, step.passed, step.how, step.detail) for step in verification.steps
    )
    failed = sum(row.passed is False for row in rows)
    return VerificationDocument(
        receipt=to_hex(identity),
        model=verification.model,
        holds=not failed,
        passed=sum(row.passed is True for row in rows),
        failed=failed,
        not_checked=sum(row.passed is None for row in rows),
        checks=rows,
    )


def _print_receipt(output: Output, document: VerificationDocument, *, is_first: bool) -> None:
    """Print the table of the first receipt and a line for each further one."""
    if output.as_json:
        return
    if is_first:
        output.show(document)
        return
    parts = [f"{document.passed} steps hold"]
    if document.not_checked:
        parts.append(f"{document.not_checked} not checkable here")
    if document.failed:
        parts.append(f"FAILED: {_failing(document)}")
    output.say(f"{document.receipt}  {', '.join(parts)}")


def _failing(document: VerificationDocument) -> str:
    return ", ".join(row.step for row in document.checks if row.passed is False)
