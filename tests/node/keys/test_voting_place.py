"""However a validator is copied, moved, restored and killed: at most one of its folders may vote.

The model runs on real folders. A kill is an audit hook: it counts what a process does to the disk,
and from the kill on every such act fails, so that no clean-up of the dead process does anything.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from node.keys.vote_signer import FILE_SUFFIX, SigningHistory
from node.keys.voting_place import (
    MayNotVoteError,
    check_may_vote,
    pack_place,
    read_place,
    settle,
)
from node.operations.data_folder import PEER_SEED_FILE, consensus_folder, no_vote_path
from node.storage.folder_archive import Manifest, unpack
from node.storage.folder_swap import put_back, put_in_place
from runtime.shared.finality import Ballot, Kind
from runtime.types.primitives import Hash

NAMES = frozenset({"db", "consensus", PEER_SEED_FILE})
KEY = f"key{FILE_SUFFIX}"
DISK_EVENTS = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"}
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Killed(BaseException):
    """The process is dead."""


class Kill:
    """Kills the body after so many acts on the disk; the hook itself can never be removed."""

    def __init__(self) -> None:
        self.acts_left: int | None = None
        sys.addaudithook(self._on_event)

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.acts_left is None:
            return
        if event not in DISK_EVENTS and not (event == "open" and arguments[2] & WRITE_FLAGS):
            return
        if self.acts_left == 0:
            raise Killed
        self.acts_left -= 1

    @contextmanager
    def after(self, acts: int | None) -> Iterator[None]:
        self.acts_left = acts
        try:
            yield
        except Killed:
            pass
        finally:
            self.acts_left = None


KILL = Kill()


def quiet(done: int, total: int) -> None:
    pass


def manifest(*, is_move: bool) -> Manifest:
    return Manifest(
        chain="dev", genesis_hash="0x", block_number=1, block_hash="0x", is_moved=is_move, moves=[],
        taken_at="now",
    )  # fmt: skip


def new_place(folder: Path, *ballots: Ballot) -> Path:
    (folder / "db").mkdir(parents=True)
    (folder / "db" / "data").write_bytes(b"data")
    (folder / PEER_SEED_FILE).write_bytes(b"seed")
    vote(folder, *ballots)
    return folder


def vote(folder: Path, *ballots: Ballot) -> None:
    history = SigningHistory(consensus_folder(folder) / KEY)
    for ballot in ballots:
        history.record_ballot(ballot)
    history.close()


def ballot(view: int, digest: int = 0) -> Ballot:
    return Ballot(0, view, Kind.NOTARIZE, Hash(bytes([digest]) * 32))


def restore(file: Path, folder: Path) -> None:
    """Do as `openledger chain restore --replace` does."""
    draft = folder.with_name("draft.part")
    put_back(folder)
    shutil.rmtree(draft, ignore_errors=True)
    settle(folder, draft, unpack(file, draft, NAMES, quiet))
    put_in_place(draft, folder)


@dataclass
class Snapshot:
    """A file; a move is used once it has brought the right to a place."""

    file: Path
    move: str | None
    is_used: bool = False


class Places(RuleBasedStateMachine):
    """Three folders of one validator, and all the snapshots that were ever taken of them."""

    kills = st.one_of(st.none(), st.integers(0, 12), st.integers(0, 40))
    places = st.integers(0, 2)

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.folders = [self.root / str(number) / "chain" for number in range(3)]
        for folder in self.folders:
            folder.parent.mkdir()
        self.signed: list[list[Ballot]] = [[], [], []]
        self.snapshots: list[Snapshot] = []

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    @initialize()
    def begin(self) -> None:
        new_place(self.folders[0])
        self.run(0, 1)

    @rule(number=places, views=st.integers(1, 300))
    def run(self, number: int, views: int) -> None:
        folder = self.folders[number]
        if not folder.exists():
            return
        try:
            check_may_vote(folder)
        except MayNotVoteError:
            return
        history = read_place(folder).histories.get(KEY)
        newest = max((signed.view for signed in history.ballots), default=0) if history else 0
        signed = ballot(newest + views, number)
        vote(folder, signed)
        self.signed[number].append(signed)

    @rule(number=places, is_move=st.booleans(), kill=kills)
    def snapshot(self, number: int, is_move: bool, kill: int | None) -> None:
        if not self.folders[number].exists():
            return
        file = self.root / f"snapshot {len(self.snapshots)}"
        try:
            with KILL.after(kill):
                pack_place(self.folders[number], file, manifest(is_move=is_move), NAMES, quiet)
        except MayNotVoteError:
            return
        if file.exists():
            moves = read_place(self.folders[number]).moves
            self.snapshots.append(Snapshot(file, moves[-1] if is_move else None))

    @precondition(lambda self: self.snapshots)
    @rule(number=places, kill=kills, data=st.data())
    def restore(self, number: int, kill: int | None, data: st.DataObject) -> None:
        snapshot = data.draw(st.sampled_from(self.snapshots))
        folder = self.folders[number]
        knows_it = snapshot.move in read_place(folder).moves
        if snapshot.is_used and not knows_it:
            return  # what no file can prevent, and the command asks of the operator
        with KILL.after(kill):
            restore(snapshot.file, folder)
        put_back(folder)
        place = read_place(folder)
        if snapshot.move in place.moves and place.may_vote:
            snapshot.is_used = True

    @invariant()
    def at_most_one_place_may_vote(self) -> None:
        voting = [folder for folder in self.folders if folder.exists()]
        assert sum(read_place(folder).may_vote for folder in voting) <= 1

    @invariant()
    def no_place_forgets_what_it_signed(self) -> None:
        for folder, signed in zip(self.folders, self.signed, strict=True):
            if signed:
                history = read_place(folder).histories[KEY]
                assert not any(map(history.is_foreign, signed))


Places.TestCase.settings = settings(max_examples=250, stateful_step_count=20, deadline=None)
TestPlaces = Places.TestCase


def test_a_right_that_went_away_comes_back_by_a_later_move_alone(tmp_path: Path) -> None:
    home, away = new_place(tmp_path / "home", ballot(1)), tmp_path / "away"
    for number, (source, target) in enumerate(((home, away), (away, home))):
        file = tmp_path / f"move {number}"
        pack_place(source, file, manifest(is_move=True), NAMES, quiet)
        restore(file, source)
        with pytest.raises(MayNotVoteError, match="was moved to another place"):
            check_may_vote(source)
        restore(file, target)
        check_may_vote(target)
    restore(tmp_path / "move 0", away)
    with pytest.raises(MayNotVoteError):
        check_may_vote(away)


def test_a_move_forbids_the_original_before_the_first_byte_of_the_file(tmp_path: Path) -> None:
    home = new_place(tmp_path / "home", ballot(1))
    seen = []

    def look(done: int, total: int) -> None:
        seen.append((no_vote_path(home).exists(), (tmp_path / "file").exists()))

    pack_place(home, tmp_path / "file", manifest(is_move=True), NAMES, look)
    assert set(seen) == {(True, False)}
    move = read_place(home).moves[-1]
    assert move in no_vote_path(home).read_text()


def test_a_move_that_fails_takes_its_word_back(tmp_path: Path) -> None:
    home = new_place(tmp_path / "home", ballot(1))

    def full(done: int, total: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        pack_place(home, tmp_path / "file", manifest(is_move=True), NAMES, full)
    check_may_vote(home)
    assert list(tmp_path.iterdir()) == [home]


def test_a_move_whose_file_is_there_keeps_its_word_although_it_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = new_place(tmp_path / "home", ballot(1))

    def fail(folder: Path) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr("node.storage.new_file.sync_folder", fail)
    with pytest.raises(OSError, match="broken"):
        pack_place(home, tmp_path / "file", manifest(is_move=True), NAMES, quiet)
    assert (tmp_path / "file").exists()
    with pytest.raises(MayNotVoteError):
        check_may_vote(home)


def test_the_peer_identity_comes_with_the_right_and_with_nothing_else(tmp_path: Path) -> None:
    home = new_place(tmp_path / "home", ballot(1))
    pack_place(home, tmp_path / "copy", manifest(is_move=False), NAMES, quiet)
    pack_place(home, tmp_path / "move", manifest(is_move=True), NAMES, quiet)
    for name, has_seed in (("copy", False), ("move", True)):
        restore(tmp_path / name, tmp_path / "to" / name)
        assert (tmp_path / "to" / name / PEER_SEED_FILE).exists() == has_seed
