"""`openledger chain snapshot | restore`: the data of a stopped node as one file, and back.

Two nodes that vote with one key are slashed, so both commands say whether it is safe to vote from
the copy, and a file `no-vote` keeps a validator from voting where it is not:
- A snapshot with --move is the node itself on its way to another machine. The original may not vote
  any more; the copy may, if it is restored once.
- A plain snapshot is a copy of a node that goes on. It may follow the chain, but not vote: it does
  not know what the original signs later.
- Where a snapshot goes back into its own node's folder, that folder's signing histories stay: they
  are newer than those of the snapshot, and the signer refuses to contradict them.
A snapshot says nothing of where it is restored: that is the folder of the chain that the operator
names, and its genesis has to be that chain's. An identity among peers comes only with a move.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from genesis.spec import load_spec
from ml.durable_file import write_durably
from node.client.errors import UsageError
from node.commands.base.command import command_output, confirm, refuse
from node.commands.base.output import Output
from node.commands.chain.folder_archive import Manifest, pack, put_in_place, unpack
from node.commands.chain.log_repair import signing_histories
from node.operations.config import default_base_path
from node.operations.data_folder import (
    ANSWERS_FOLDER,
    BLOBS_FOLDER,
    CHAINS_FOLDER,
    CONSENSUS_FOLDER,
    DATABASE_FOLDER,
    JOBS_FOLDER,
    NO_VOTE_FILE,
    PEER_SEED_FILE,
    RECEIPTS_FILE,
    chain_folder,
    consensus_folder,
    no_vote_path,
)
from runtime.codec.hexadecimal import to_hex

NODE_DATA: Final = frozenset(
    {
        DATABASE_FOLDER,
        BLOBS_FOLDER,
        CONSENSUS_FOLDER,
        ANSWERS_FOLDER,
        JOBS_FOLDER,
        # SQLite keeps its last writes beside the file until it is opened again.
        *(RECEIPTS_FILE + suffix for suffix in ("", "-wal", "-shm")),
    }
)
"""What a node cannot make again by itself."""
MOVED: Final = (
    "its node was moved to another place by `openledger chain snapshot --move` on {time}, and "
    "votes there"
)
COPIED: Final = (
    "it was restored from a copy of {time}, and does not know what the node that it was taken from "
    "has signed since"
)


@dataclass(frozen=True, slots=True)
class SnapshotDocument:
    """A snapshot of a node's data, or a folder that was restored from one."""

    file: str
    folder: str
    chain: str
    block_number: int
    block_hash: str
    size_bytes: int
    signing_histories: tuple[str, ...]
    is_safe_to_vote: bool
    sentence: str


@click.command("snapshot")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--chain", "chain_name", default="dev", show_default=True, help="Preset or spec file."
)
@click.option("--base-path", type=click.Path(path_type=Path), help="The node's data folder.")
@click.option("--move", is_flag=True, help="The node goes elsewhere: this one votes no more.")
@command_output(SnapshotDocument)
def snapshot(
    output: Output, file: Path, chain_name: str, base_path: Path | None, move: bool
) -> SnapshotDocument:
    """Write the data of a stopped node to a new FILE: chain, state, files, votes; no keys."""
    spec = load_spec(chain_name)
    folder = chain_folder(base_path or default_base_path(), spec.id)
    if not (folder / DATABASE_FOLDER).is_dir():
        refuse(f"There is no data of the chain {spec.id!r} in {folder}. Name it by --base-path.")
    if file.exists():
        refuse(f"{file} exists already. Name a new file; nothing was overwritten.")
    number, block_hash = _head_of(folder)
    time = datetime.now(UTC).isoformat(timespec="seconds")
    manifest = Manifest(
        chain=spec.id,
        genesis_hash=to_hex(spec.build().hash),
        block_number=number,
        block_hash=block_hash,
        is_moved=move,
        taken_at=time,
        files={},
    )
    if move and no_vote_path(folder).exists():
        refuse(f"{folder} may not vote itself: {no_vote_path(folder).read_text().strip()}.")
    with _kept_closed(folder), output.progress("Writing") as advance:
        size = pack(folder, file, manifest, _names(is_moved=move), advance)
    if move:
        _forbid(folder, MOVED.format(time=time))
    histories = _histories(folder)
    is_safe, sentence = _verdict(histories, is_moved=move, kept=())
    return _document(output, file, folder, manifest, size, histories, is_safe, sentence)


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--chain", "chain_name", default="dev", show_default=True, help="Preset or spec file."
)
@click.option("--base-path", type=click.Path(path_type=Path), help="The node's data folder.")
@click.option("--replace", is_flag=True, help="In place of the chain's data that are there.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@command_output(SnapshotDocument)
def restore(
    output: Output,
    file: Path,
    chain_name: str,
    base_path: Path | None,
    replace: bool,
    yes: bool,
) -> SnapshotDocument:
    """Put the snapshot FILE into a node's data folder, and say whether it may vote from there.

    Restore a validator only from a snapshot that you took yourself: whoever wrote the file decides
    which votes of your key it knows.
    """
    spec = load_spec(chain_name)
    base = base_path or default_base_path()
    folder = chain_folder(base, spec.id)
    draft = base / CHAINS_FOLDER / ".restoring.part"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with output.progress("Reading") as advance:
            manifest = unpack(file, draft, _names(is_moved=True), advance)
        if manifest.genesis_hash != to_hex(spec.build().hash):
            refuse(
                f"{file} is of the chain {manifest.chain!r}, genesis {manifest.genesis_hash}, and "
                f"not of {spec.id!r}. Name the chain of the snapshot by --chain."
            )
        # What only the folder at the new place may decide.
        no_vote_path(draft).unlink(missing_ok=True)
        if not manifest.is_moved:
            (draft / PEER_SEED_FILE).unlink(missing_ok=True)
        kept = _keep_own(
            output,
            folder,
            draft,
            is_moved=manifest.is_moved,
            is_replacing=replace,
            is_agreed=yes,
        )
        number, block_hash = _head_of(draft)
        if (number, block_hash) != (manifest.block_number, manifest.block_hash):
            refuse(f"{file} holds block {number} and says {manifest.block_number}: do not use it.")
        histories = _histories(draft)
        is_safe, sentence = _verdict(histories, is_moved=manifest.is_moved, kept=kept)
        if not is_safe:
            _forbid(draft, COPIED.format(time=manifest.taken_at))
        put_in_place(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    size = file.stat().st_size
    return _document(output, file, folder, manifest, size, histories, is_safe, sentence)


def _names(*, is_moved: bool) -> frozenset[str]:
    """Return the names in a chain's folder that go into a snapshot.

    A copy is another node among its peers; a node that moves stays the one that it was.
    """
    return NODE_DATA | {PEER_SEED_FILE} if is_moved else NODE_DATA


def _keep_own(
    output: Output,
    folder: Path,
    draft: Path,
    *,
    is_moved: bool,
    is_replacing: bool,
    is_agreed: bool,
) -> tuple[str, ...]:
    """Take over what only the folder itself knows; returns its histories that are the newer ones.

    Raises UsageError where there is data that may not be replaced.
    """
    if not folder.exists():
        return ()
    if not is_replacing:
        refuse(f"{folder} has data already. Replace them with --replace, or name another folder.")
    if (folder / DATABASE_FOLDER).is_dir():
        _head_of(folder)  # refuses while a node runs on it
    confirm(f"Replace the data in {folder}?", is_given=is_agreed)
    own, theirs = _newest(folder), _newest(draft)
    kept = tuple(name for name in own if own[name] >= theirs.get(name, own[name]))
    names = [f"{CONSENSUS_FOLDER}/{name}" for name in kept] + [PEER_SEED_FILE]
    if not is_moved:
        names.append(f"{CONSENSUS_FOLDER}/{NO_VOTE_FILE}")
    for name in names:
        if (folder / name).is_file():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / name, draft / name)
    if kept:
        output.note(f"Kept the signing histories of {folder}: {', '.join(kept)}.")
    return kept


def _verdict(
    histories: tuple[str, ...], *, is_moved: bool, kept: tuple[str, ...]
) -> tuple[bool, str]:
    """Return whether a validator may vote from the restored folder, and why."""
    if not histories:
        return True, (
            "No vote was ever signed from this data, so it is safe to vote from the copy with a "
            "key that votes nowhere else."
        )
    if set(histories) <= set(kept):
        return True, (
            "It is safe to vote from this folder: it kept its own signing histories, which know "
            "all that its keys have signed here."
        )
    if is_moved:
        return True, (
            "It is safe to vote from the copy, if it is restored once: the node that it was taken "
            "from votes no more."
        )
    return False, (
        "It is NOT safe to vote from the copy, and it will refuse to: it does not know what the "
        "original signs after this, and two nodes that vote with one key are slashed. Let it "
        "follow without --validator, or move the node with `openledger chain snapshot --move`."
    )


def _newest(folder: Path) -> dict[str, tuple[int, int]]:
    """Return epoch and view of the newest vote of each signing history. Raises UsageError."""
    newest = {}
    for line in signing_histories(consensus_folder(folder)):
        if line.is_damaged:
            refuse(
                f"The mark {line.file} is damaged, so what its key has signed is not known. Make "
                "another key with `openledger validator keys`, and move that file away."
            )
        if line.newest_epoch is not None and line.newest_view is not None:
            newest[Path(line.file).name] = (line.newest_epoch, line.newest_view)
    return newest


def _histories(folder: Path) -> tuple[str, ...]:
    """Return the names of the signing histories in a chain's data that hold a vote."""
    return tuple(_newest(folder))


def _head_of(folder: Path) -> tuple[int, str]:
    """Return the last final block of a chain's data. Raises DatabaseInUseError, UsageError."""
    from node.storage.database import Database

    with Database.open(folder / DATABASE_FOLDER, create=False) as database:
        number = database.head
        block_hash = None if number is None else database.hash_at(number)
    if number is None or block_hash is None:
        refuse(f"The database in {folder} is empty: there is nothing to copy yet.")
    return number, to_hex(block_hash)


@contextmanager
def _kept_closed(folder: Path) -> Iterator[None]:
    """Hold LevelDB's own lock, so that no node starts on the data while they are copied."""
    with (folder / DATABASE_FOLDER / "LOCK").open("r+b") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"A node runs on {folder}. Stop it first.") from error
        yield


def _forbid(folder: Path, why: str) -> None:
    path = no_vote_path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, f"{why}\n".encode())


def _document(
    output: Output,
    file: Path,
    folder: Path,
    manifest: Manifest,
    size: int,
    histories: tuple[str, ...],
    is_safe: bool,
    sentence: str,
) -> SnapshotDocument:
    output.note(sentence)
    return SnapshotDocument(
        file=str(file),
        folder=str(folder),
        chain=manifest.chain,
        block_number=manifest.block_number,
        block_hash=manifest.block_hash,
        size_bytes=size,
        signing_histories=histories,
        is_safe_to_vote=is_safe,
        sentence=sentence,
    )
