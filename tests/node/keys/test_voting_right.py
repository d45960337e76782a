"""At most one place has the right to vote: every row of the table, and why it is there."""

from __future__ import annotations

import pytest

from node.keys.vote_signer import REMEMBERED_VIEWS, RecentBallots
from node.keys.voting_right import Outcome, Place, restored
from runtime.shared.finality import NO_DIGEST, Ballot, Kind

KEY, OTHER_KEY = "a.mark", "b.mark"


def place(
    *views: int, moves: str = "", may_vote: bool = True, key: str = KEY, kind: Kind = Kind.NOTARIZE
) -> Place:
    history = RecentBallots()
    for view in views:
        history.add(Ballot(0, view, kind, NO_DIGEST))
    return Place({key: history}, tuple(moves), may_vote)


NOWHERE = Place({})

ROWS = {
    "a move into a new folder": (NOWHERE, place(1, moves="x"), True, Outcome.MOVED_HERE),
    "a move back with more votes": (
        place(1, moves="x", may_vote=False), place(1, 2, moves="xy"), True, Outcome.MOVED_HERE,
    ),
    "a move back without a vote": (
        place(1, moves="x", may_vote=False), place(1, moves="xy"), True, Outcome.MOVED_HERE,
    ),
    "a move into a copy": (
        place(1, may_vote=False), place(1, 2, moves="x"), True, Outcome.MOVED_HERE,
    ),
    "the very move that left": (
        place(1, moves="x", may_vote=False), place(1, moves="x"), True, Outcome.STILL_FORBIDDEN,
    ),
    "the move before the one that left": (
        place(1, moves="xy", may_vote=False), place(1, moves="x"), True, Outcome.STILL_FORBIDDEN,
    ),
    "a move of another node": (
        place(1, moves="x", may_vote=False), place(1, moves="vw"), True, Outcome.STILL_FORBIDDEN,
    ),
    "a later move that lacks a vote of the folder": (
        place(1, 3, moves="x", may_vote=False), place(1, 2, moves="xy"), True,
        Outcome.STILL_FORBIDDEN,
    ),
    "a move restored again where the right is": (
        place(1, 2, moves="x"), place(1, moves="x"), True, Outcome.UNCHANGED,
    ),
    "a move that lacks a vote of a folder that may vote": (
        place(1, 3), place(1, 2, moves="x"), True, Outcome.COPY,
    ),
    "a copy into a new folder": (NOWHERE, place(1), False, Outcome.COPY),
    "a copy without votes": (NOWHERE, NOWHERE, False, Outcome.UNCHANGED),
    "an old copy into its own folder": (place(1, 2), place(1), False, Outcome.UNCHANGED),
    "a copy with a vote at the same place": (
        place(1), place(1, kind=Kind.NULLIFY), False, Outcome.COPY,
    ),
    "a copy of another key": (place(1), place(1, key=OTHER_KEY), False, Outcome.COPY),
    "a copy into a folder that was moved away": (
        place(1, moves="x", may_vote=False), place(1), False, Outcome.STILL_FORBIDDEN,
    ),
    "a newer copy into a copy": (
        place(1, may_vote=False), place(1, 2), False, Outcome.STILL_FORBIDDEN,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ROWS)
def test_every_row_of_the_table(case: str) -> None:
    own, snapshot, is_move, outcome = ROWS[case]
    result = restored(own, snapshot, is_move=is_move)
    assert result.outcome is outcome
    assert result.may_vote == (outcome in (Outcome.MOVED_HERE, Outcome.UNCHANGED))


@pytest.mark.parametrize(
    ("own", "snapshot", "is_kept"),
    [
        (place(1, 2), place(1), True),
        (place(1), place(1), True),
        (place(1), place(1, 2), False),
        (place(1), place(REMEMBERED_VIEWS + 2), False),
        (place(1, 3), place(1, 2), True),
        (place(1), place(2, key=OTHER_KEY), True),
    ],
)
def test_a_folder_keeps_its_history_unless_the_other_knows_it_all(
    own: Place, snapshot: Place, is_kept: bool
) -> None:
    assert restored(own, snapshot, is_move=False).kept_histories == ({KEY} if is_kept else set())


def test_a_folder_remembers_the_longer_row_of_moves() -> None:
    for own, other in (("", "x"), ("x", ""), ("x", "xy"), ("xy", "x")):
        result = restored(place(1, moves=own), place(1, moves=other), is_move=False)
        assert result.moves == tuple(max(own, other))
    assert restored(place(moves="x"), place(moves="vw"), is_move=True).moves == ("x",)
