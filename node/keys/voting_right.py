"""Where a validator may vote: the right of one folder, and how it goes from one to another.

Two nodes that vote with one key are slashed. So at most one folder of a validator's data has the
right to vote, and the question on each restore is: may another place have signed since? That the
history here is newer, or as new, does not answer it.

- A move takes the right from a folder for good, before the first byte of it is written elsewhere.
- Each move has a random id. A folder and a snapshot have the ids of all moves that their data went
  through, oldest first; so of two snapshots it is known which one the right went on with.
- A folder never gives up a vote that it signed for a history that does not have it.

What a restore does, in the order of the rows ("knows": every vote of the other is remembered, or
lies below what is remembered, where nothing is signed any more):

| the snapshot                                  | the folder             | after it           |
|-----------------------------------------------|------------------------|--------------------|
| a later move than its, that knows its votes   | may vote or not        | MOVED_HERE: votes  |
| any other                                     | may vote and knows the | UNCHANGED: votes   |
|                                               | votes of the snapshot  |                    |
| any other                                     | may not vote           | STILL_FORBIDDEN    |
| any other: it has votes unknown to the folder | may vote               | COPY: may not vote |

So the file of the move by which the right left a folder never brings it back: it is not later than
that move. Nothing in a file can say whether it was restored in another new folder before; there the
operator is asked to restore it once.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from node.keys.vote_signer import RecentBallots

Moves = tuple[str, ...]
"""The ids of the moves that data went through, oldest first."""


class Outcome(enum.Enum):
    """What a folder may do after a restore; the rows of the table."""

    MOVED_HERE = enum.auto()
    UNCHANGED = enum.auto()
    STILL_FORBIDDEN = enum.auto()
    COPY = enum.auto()


MAY_VOTE: Final = frozenset({Outcome.MOVED_HERE, Outcome.UNCHANGED})


@dataclass(frozen=True, slots=True)
class Place:
    """What a folder, or a snapshot, knows of votes.

    Histories have the names of their files. The one of a snapshot has no word of its own on whether
    it may vote.
    """

    histories: Mapping[str, RecentBallots]
    moves: Moves = ()
    may_vote: bool = True

    @property
    def has_votes(self) -> bool:
        """Return whether a key has voted from these data."""
        return any(history.ballots for history in self.histories.values())


@dataclass(frozen=True, slots=True)
class Restored:
    """The right of a folder after a restore, its moves, and which of its own histories it keeps."""

    outcome: Outcome
    moves: Moves
    kept_histories: frozenset[str]

    @property
    def may_vote(self) -> bool:
        """Return whether a validator may vote from the folder."""
        return self.outcome in MAY_VOTE


def restored(own: Place, snapshot: Place, *, is_move: bool) -> Restored:
    """Return what becomes of a folder into which a snapshot is restored."""
    is_later = _is_later(snapshot.moves, own.moves)
    if is_move and is_later and _knows(snapshot, own):
        outcome = Outcome.MOVED_HERE
    elif own.may_vote and _knows(own, snapshot):
        outcome = Outcome.UNCHANGED
    elif not own.may_vote:
        outcome = Outcome.STILL_FORBIDDEN
    else:
        outcome = Outcome.COPY
    kept = frozenset(
        name
        for name in own.histories
        if _knows_history(own, snapshot, name) or not _knows_history(snapshot, own, name)
    )
    return Restored(outcome, snapshot.moves if is_later else own.moves, kept)


def _is_later(moves: Moves, others: Moves) -> bool:
    """Return whether the one row of moves goes on where the other one ends."""
    return len(moves) > len(others) and moves[: len(others)] == others


def _knows(place: Place, other: Place) -> bool:
    return all(_knows_history(place, other, name) for name in other.histories)


def _knows_history(place: Place, other: Place, name: str) -> bool:
    """Return whether a place can never contradict the votes in another's history of this name."""
    signed = other.histories.get(name, _NOTHING).ballots
    known = place.histories.get(name, _NOTHING)
    return not any(known.is_foreign(ballot) for ballot in signed)


_NOTHING: Final = RecentBallots()
