"""`openledger chain snapshot | restore`: the data of a stopped node as one file, and back.

Both say whether it is safe to vote from the copy; node/keys/voting_right.py has the rule. A
snapshot does not decide where it is restored: that is the folder of the chain that the operator
names, and its genesis has to be that chain's.
"""

from __future__ import annotations

import dataclasses
import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from genesis.spec import ChainSpec, load_spec
from node.client.errors import UsageError
from node.commands.base.command import command_output, confirm, refuse
from node.commands.base.output import Output
from node.keys.voting_place import pack_place, read_place, settle, why_not
from node.keys.voting_right import MAY_VOTE, Outcome, Place, restored
from node.operations.config import default_base_path
from node.operations.data_folder import (
    ANSWERS_FOLDER,
    BLOBS_FOLDER,
    CONSENSUS_FOLDER,
    DATABASE_FOLDER,
    JOBS_FOLDER,
    PEER_SEED_FILE,
    RECEIPTS_FILE,
    chain_folder,
)
from node.storage.folder_archive import Manifest, unpack
from node.storage.folder_swap import put_back, put_in_place
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
SENTENCES: Final = {
    Outcome.MOVED_HERE: (
        "It is safe to vote from the copy, if it is restored once: the node that it was taken from "
        "votes no more."
    ),
    Outcome.UNCHANGED: (
        "It is safe to vote from this folder: it had the right to vote, and kept its own signing "
        "histories, which know all that its keys have signed here."
    ),
    Outcome.STILL_FORBIDDEN: (
        "It is NOT safe to vote from this folder, and it refuses to as before: {why}. Only a later "
        "move into it lets it vote."
    ),
    Outcome.COPY: (
        "It is NOT safe to vote from the copy, and it will refuse to: it does not know what the "
        "original signs after this, and two nodes that vote with one key are slashed. Let it "
        "follow without --validator, or move the node with `openledger chain snapshot --move`."
    ),
}
NEVER_VOTED: Final = (
    "No vote was ever signed from this data, so it is safe to vote from the copy with a key that "
    "votes nowhere else."
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
    """Write the data of a stopped node to a new FILE: chain, state, files, votes.

    No key of an account or of votes is in it. With --move it holds the secret of the node's peer
    identity, so keep it like a key. This node may not vote from then on, also if FILE is lost.
    """
    spec = load_spec(chain_name)
    folder = chain_folder(base_path or default_base_path(), spec.id)
    put_back(folder)
    if not (folder / DATABASE_FOLDER).is_dir():
        refuse(f"There is no data of the chain {spec.id!r} in {folder}. Name it by --base-path.")
    if file.exists():
        refuse(f"{file} exists already. Name a new file; nothing was overwritten.")
    number, block_hash = _head_of(folder)
    manifest = Manifest(
        chain=spec.id,
        genesis_hash=to_hex(spec.build().hash),
        block_number=number,
        block_hash=block_hash,
        is_moved=move,
        moves=[],
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    with _held_closed(folder), output.progress("Writing") as advance:
        manifest, size = pack_place(folder, file, manifest, _names(is_moved=move), advance)
    copy = dataclasses.replace(read_place(folder), moves=tuple(manifest.moves))
    outcome = restored(Place({}), copy, is_move=move).outcome
    return _document(output, file, folder, manifest, size, outcome)


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
    which votes of your key it knows. Restore one that was taken with --move once: two nodes that
    vote with one key are slashed.
    """
    spec = load_spec(chain_name)
    folder = chain_folder(base_path or default_base_path(), spec.id)
    draft = folder.with_name(".restoring.part")
    put_back(folder)
    if folder.exists():
        if not replace:
            refuse(f"{folder} has data already. Use --replace, or name another folder.")
        confirm(f"Replace the data in {folder}?", is_given=yes)
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with _held_closed(folder):
            with output.progress("Reading") as advance:
                manifest = unpack(file, draft, _names(is_moved=True), advance)
            _check(file, manifest, spec, draft)
            result = settle(folder, draft, manifest)
            put_in_place(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    if result.kept_histories:
        kept = ", ".join(sorted(result.kept_histories))
        output.note(f"Kept the signing histories of {folder}: {kept}.")
    return _document(output, file, folder, manifest, file.stat().st_size, result.outcome)


def _names(*, is_moved: bool) -> frozenset[str]:
    """Return the names in a chain's folder that go into a snapshot.

    A copy is another node among its peers; a node that moves stays the one that it was.
    """
    return NODE_DATA | {PEER_SEED_FILE} if is_moved else NODE_DATA


def _check(file: Path, manifest: Manifest, spec: ChainSpec, draft: Path) -> None:
    """Refuse a snapshot of another chain, or of another block than it says. Raises UsageError."""
    if manifest.genesis_hash != to_hex(spec.build().hash):
        refuse(
            f"{file} is of the chain {manifest.chain!r}, genesis {manifest.genesis_hash}, and "
            f"not of {spec.id!r}. Name the chain of the snapshot by --chain."
        )
    number, block_hash = _head_of(draft)
    if (number, block_hash) != (manifest.block_number, manifest.block_hash):
        refuse(f"{file} holds block {number} and says {manifest.block_number}: do not use it.")


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
def _held_closed(folder: Path) -> Iterator[None]:
    """Hold LevelDB's own lock, so that no node runs on the folder meanwhile. Raises UsageError."""
    path = folder / DATABASE_FOLDER / "LOCK"
    if not path.exists():
        yield
        return
    with path.open("r+b") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"A node runs on {folder}. Stop it first.") from error
        yield


def _document(
    output: Output, file: Path, folder: Path, manifest: Manifest, size_bytes: int, outcome: Outcome
) -> SnapshotDocument:
    place = read_place(folder)
    is_safe = outcome in MAY_VOTE
    sentence = SENTENCES[outcome].format(why=why_not(folder))
    if is_safe and not place.has_votes:
        sentence = NEVER_VOTED
    output.note(sentence)
    return SnapshotDocument(
        file=str(file),
        folder=str(folder),
        chain=manifest.chain,
        block_number=manifest.block_number,
        block_hash=manifest.block_hash,
        size_bytes=size_bytes,
        signing_histories=tuple(name for name, votes in place.histories.items() if votes.ballots),
        is_safe_to_vote=is_safe,
        sentence=sentence,
    )
