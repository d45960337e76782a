"""A chain's data folder as a place to vote from: its histories, its moves, and its `no-vote` file.

`node/keys/voting_right.py` decides; here are the files, and the order in which they are written.
The caller keeps nodes from the folder meanwhile.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from ml.durable_file import sync_folder, write_durably
from node.keys.vote_signer import FILE_SUFFIX, read_history
from node.keys.voting_right import Moves, Outcome, Place, Restored, restored
from node.operations.data_folder import (
    PEER_SEED_FILE,
    consensus_folder,
    moves_path,
    no_vote_path,
)
from node.storage.folder_archive import Manifest, OnBytes, pack
from runtime.errors import ExitCode, OpenLedgerError

MOVE_ID_BYTES: Final = 16
MOVED: Final = (
    "its node was moved to another place by `openledger chain snapshot --move` on {time} (move "
    "{move}), and votes there"
)
COPIED: Final = (
    "it was restored from a copy of {time}, and does not know what the node that it was taken from "
    "has signed since"
)


class MayNotVoteError(OpenLedgerError):
    """A `no-vote` file keeps validators from voting from a folder."""

    exit_code = ExitCode.USAGE


def check_may_vote(chain_data: Path) -> None:
    """Refuse a folder that may not vote. Raises MayNotVoteError."""
    path = no_vote_path(chain_data)
    if path.exists():
        raise MayNotVoteError(
            f"This node may not vote from {chain_data}: {why_not(chain_data)}. Start it without "
            "--validator to follow the chain. Only where this copy is the newest, and no other "
            f"node votes with its key: remove {path}."
        )


def why_not(chain_data: Path) -> str:
    """Return the sentence of a folder's `no-vote` file; empty where there is none."""
    path = no_vote_path(chain_data)
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def read_place(chain_data: Path) -> Place:
    """Return what a folder knows of votes; one that is not there knows nothing.

    Raises DamagedHistoryError.
    """
    histories = consensus_folder(chain_data).glob(f"*{FILE_SUFFIX}")
    moves = moves_path(chain_data)
    return Place(
        histories={path.name: read_history(path) for path in sorted(histories)},
        moves=tuple(moves.read_text(encoding="ascii").split()) if moves.exists() else (),
        may_vote=not no_vote_path(chain_data).exists(),
    )


def pack_place(
    chain_data: Path, file: Path, manifest: Manifest, names: Collection[str], on: OnBytes
) -> tuple[Manifest, int]:
    """Write a folder's data to a new file; returns what it is of, and its bytes.

    A move takes the right to vote from the folder first. Raises MayNotVoteError, OSError.
    """
    if not manifest.is_moved:
        manifest = replace(manifest, moves=list(read_place(chain_data).moves))
        return manifest, pack(chain_data, file, manifest, names, on)
    with _leaving(chain_data, file, manifest.taken_at) as moves:
        manifest = replace(manifest, moves=list(moves))
        return manifest, pack(chain_data, file, manifest, names, on)


@contextmanager
def _leaving(chain_data: Path, file: Path, time: str) -> Iterator[Moves]:
    """Take the right to vote from a folder while its data are written to a file, and for good once
    there is the file. Gives the moves of the data, with the new one.

    Raises MayNotVoteError.
    """
    place = read_place(chain_data)
    if not place.may_vote:
        raise MayNotVoteError(f"{chain_data} may not vote itself: {why_not(chain_data)}.")
    move = secrets.token_hex(MOVE_ID_BYTES)
    moves = (*place.moves, move)
    try:
        # In this order: an id of a move that never was does no harm.
        _write_moves(chain_data, moves)
        _forbid(chain_data, MOVED.format(time=time, move=move))
        yield moves
    except BaseException:
        # The file may be there although something failed after it: then the right went with it.
        if not file.exists():
            no_vote_path(chain_data).unlink(missing_ok=True)
            sync_folder(consensus_folder(chain_data))
        raise


def settle(chain_data: Path, draft: Path, manifest: Manifest) -> Restored:
    """Give the draft of a restored folder what the folder that it replaces knows of votes.

    Raises DamagedHistoryError.
    """
    # These two are about the folder that they lie in, so none comes from elsewhere.
    no_vote_path(draft).unlink(missing_ok=True)
    moves_path(draft).unlink(missing_ok=True)
    snapshot = replace(read_place(draft), moves=tuple(manifest.moves))
    result = restored(read_place(chain_data), snapshot, is_move=manifest.is_moved)
    consensus_folder(draft).mkdir(parents=True, exist_ok=True)
    for name in result.kept_histories:
        shutil.copy2(consensus_folder(chain_data) / name, consensus_folder(draft) / name)
    _write_moves(draft, result.moves)
    if result.outcome is Outcome.STILL_FORBIDDEN:
        shutil.copy2(no_vote_path(chain_data), no_vote_path(draft))
    elif result.outcome is Outcome.COPY:
        _forbid(draft, COPIED.format(time=manifest.taken_at))
    # One identity among peers has one node: it comes with the right to vote, and with nothing else.
    own_seed, seed = chain_data / PEER_SEED_FILE, draft / PEER_SEED_FILE
    if result.outcome is not Outcome.MOVED_HERE:
        seed.unlink(missing_ok=True)
    if own_seed.is_file() and not seed.exists():
        shutil.copy2(own_seed, seed)
    return result


def _write_moves(chain_data: Path, moves: Moves) -> None:
    if moves:
        path = moves_path(chain_data)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, "".join(f"{move}\n" for move in moves).encode())


def _forbid(chain_data: Path, why: str) -> None:
    path = no_vote_path(chain_data)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, f"{why}\n".encode())
