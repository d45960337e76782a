"""`openledger verify`: replays everything behind a receipt, and says of each step how.

Nothing that the node says is believed: what the chain committed to is proven against a header,
files are checked against their ids, and the rest is computed again on this machine.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import click

from node.client import Client
from node.client.tape import Tape
from node.commands.frame import REJECTED, connects, hash_of, refuse, reports
from node.commands.output import Output


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


@click.command("verify")
@click.argument("receipt")
@click.option("--quick", is_flag=True, help="Leave out what needs the model and the rows.")
@click.option("--base-model", help="Folder of the base model; the shipped one unless given.")
@click.option("--save", type=click.Path(path_type=Path), help="Keep all that is needed here.")
@click.option("--offline", type=click.Path(path_type=Path), help="Use such a folder, no node.")
@reports(VerificationDocument)
@connects
def verify_command(
    output: Output,
    client: Client,
    receipt: str,
    quick: bool,
    base_model: str | None,
    save: Path | None,
    offline: Path | None,
) -> None:
    """Replay everything behind RECEIPT and print each check; exit 1 when one fails."""
    from node.commands.verifying import verify_receipt_of

    if save is not None and offline is not None:
        refuse("Give either --save or --offline, not both.")
    if save is not None:
        client.use_tape(Tape(save, is_replaying=False))
    if offline is not None:
        client.use_tape(Tape(offline, is_replaying=True))
    identity = hash_of(receipt)
    checks = verify_receipt_of(output, client, identity, is_quick=quick, base_model=base_model)
    rows = tuple(CheckRow(each.name, each.passed, each.how, each.detail) for each in checks.steps)
    failed = sum(row.passed is False for row in rows)
    document = VerificationDocument(
        "0x" + identity.hex(),
        checks.model,
        not failed,
        sum(row.passed is True for row in rows),
        failed,
        sum(row.passed is None for row in rows),
        rows,
    )
    output.show(document)
    if failed:
        output.note(f"{failed} of {len(rows)} checks failed: this receipt does not hold.")
        sys.exit(REJECTED)
