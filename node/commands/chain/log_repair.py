"""`openledger chain repair-log`: keep what precedes the damage of a node's consensus log.

The log holds what a validator voted for before it was killed. Records behind the damage are lost to
the validator, but not to the signer: its signing history is a file of its own, and votes that are
in it are never contradicted. So the command also prints what the signing histories beside the log
still protect. It never edits one: a key whose signing history is damaged must not vote again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from genesis.spec import load_spec
from node.commands.base.command import command_output, refuse
from node.commands.base.output import Output
from node.finality.write_ahead_log import repair_log as repair_file
from node.keys.vote_signer import FILE_SUFFIX, DamagedHistoryError, read_history
from node.operations.config import default_base_path
from node.operations.data_folder import (
    DATABASE_FOLDER,
    chain_folder,
    signer_folder,
    write_ahead_log_path,
)


@dataclass(frozen=True, slots=True)
class SigningHistoryLine:
    """The votes of its key that a signing history remembers: from the floor to the newest."""

    file: str
    is_damaged: bool
    ballots: int
    newest_epoch: int | None
    newest_view: int | None


@dataclass(frozen=True, slots=True)
class RepairDocument:
    """A consensus log, what was kept of it, and where the damaged one is."""

    log: str
    was_damaged: bool
    kept_records: int
    kept_bytes: int
    lost_bytes: int
    saved_as: str | None
    marks: tuple[SigningHistoryLine, ...]


@click.command("repair-log")
@click.option(
    "--chain", "chain_name", default="dev", show_default=True, help="Preset or spec file."
)
@click.option("--base-path", type=click.Path(path_type=Path), help="The node's data folder.")
@command_output(RepairDocument)
def repair_log(output: Output, chain_name: str, base_path: Path | None) -> RepairDocument:
    """Cut the consensus log of a stopped node where its damage begins; the damaged log is kept."""
    from node.storage.database import Database

    base = base_path or default_base_path()
    identifier = load_spec(chain_name).id
    folder = chain_folder(base, identifier)
    log = write_ahead_log_path(folder)
    if not log.is_file():
        refuse(
            f"There is no consensus log at {log}. Name the node's folder with --base-path and its "
            "chain with --chain."
        )
    if not (folder / DATABASE_FOLDER).is_dir():
        refuse(f"{folder} has no database, so it is no node's folder. Name it with --base-path.")
    # A running node has its database open, which refuses a second owner; until the repair is over
    # no node can start either.
    database = Database.open(folder / DATABASE_FOLDER)
    try:
        histories = signing_histories(log.parent, signer_folder(base, identifier))
        document = _repaired(log, tuple(histories))
    finally:
        database.close()
    _print_repair(output, document)
    return document


def _repaired(log: Path, histories: tuple[SigningHistoryLine, ...]) -> RepairDocument:
    repair = repair_file(log)
    return RepairDocument(
        log=str(log),
        was_damaged=repair.saved_as is not None,
        kept_records=repair.kept_records,
        kept_bytes=repair.kept_bytes,
        lost_bytes=repair.lost_bytes,
        saved_as=None if repair.saved_as is None else str(repair.saved_as),
        marks=histories,
    )


def _print_repair(output: Output, document: RepairDocument) -> None:
    if document.was_damaged:
        output.note(
            f"Kept {document.kept_bytes:,} bytes ({document.kept_records:,} records) and took "
            f"{document.lost_bytes:,} bytes out; all of the damaged log is in {document.saved_as}."
        )
    else:
        output.note("The log is not damaged; nothing was changed. The node can start with it.")
    for line in document.marks:
        if line.is_damaged:
            output.note(
                f"The signer's mark {line.file} is damaged as well, so what its key signed is not "
                "known. Do not vote with this key again: make another with `openledger validator "
                "keys --session-key NAME` and register it with `openledger validator set-keys`."
            )
        elif line.newest_epoch is None:
            output.note(f"The signer's mark {line.file} is empty: its key has signed nothing here.")
        else:
            output.note(
                f"The signer's mark remembers {line.ballots:,} votes up to epoch "
                f"{line.newest_epoch}, view {line.newest_view}; it refuses to contradict them and "
                "to vote below them, so the node cannot sign twice by what was lost."
            )
    if not document.marks:
        output.note(
            "There is no signer's mark in this folder: the node only follows, or its key is behind "
            "`openledger signer`, whose mark protects its votes."
        )


def signing_histories(*folders: Path) -> Iterator[SigningHistoryLine]:
    """Read the signing histories in these folders, and leave them as they are."""
    for path in sorted(path for folder in folders for path in folder.glob(f"*{FILE_SUFFIX}")):
        try:
            recent = read_history(path)
        except DamagedHistoryError:
            yield SigningHistoryLine(
                file=str(path), is_damaged=True, ballots=0, newest_epoch=None, newest_view=None
            )
            continue
        newest = max(
            ((ballot.epoch, ballot.view) for ballot in recent.ballots), default=(None, None)
        )
        yield SigningHistoryLine(str(path), False, len(recent.ballots), *newest)
