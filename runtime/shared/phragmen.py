"""Sequential Phragmén: elects seats so that every voter's stake is spread as evenly as it can be.

Each seat goes to the candidate that would leave its backers with the least load; all who back it
then carries that load. At the end the stake of each voter is split over the winners it backs in
proportion to what each added to its load.

    load(c) = (1 + sum of stake(v) * load(v) for v backing c) / (sum of stake(v) for v backing c)

Rules that hold here: integers only; loads are fixed point with LOAD_BITS fractional bits, rounded
up, so two loads are distinguished to 2^-64 of their size for stakes below 2^128; equal loads go to
the smaller account id; the parts of a voter's stake add up to the whole stake.

A sum over all backers for each candidate and seat would cost seats * edges. Only backers of the
last winner change their load, so the sums are cached, and an edge is looked at once for each winner
that its voter backs.

Source: Brill, Freeman, Janson, Lackner, "Phragmén's Voting Methods and Justified Representation"
(2017), in the stake-weighted form of the Web3 Foundation's NPoS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from runtime.shared.shares import split
from runtime.types.primitives import AccountId

LOAD_BITS: Final = 192
VOTERS_MAX: Final = 1 << 14
CANDIDATES_MAX: Final = 1 << 10
TARGETS_MAX: Final = 16
STAKE_MAX: Final = (1 << 128) - 1


class BadElectionError(ValueError):
    """The votes are not such as can be counted; the message says why."""


@dataclass(frozen=True, slots=True)
class Voter:
    """An account that backs candidates, each of them with the same stake."""

    account: AccountId
    stake: int
    targets: tuple[AccountId, ...]


@dataclass(frozen=True, slots=True)
class Winner:
    """An elected candidate: its backers with their parts of stake, in the order of the voters."""

    account: AccountId
    backers: tuple[tuple[AccountId, int], ...]

    @property
    def stake(self) -> int:
        """The whole stake behind the winner."""
        return sum(part for _, part in self.backers)


@dataclass(slots=True)
class _Candidate:
    """A candidate while votes are counted: approval stake, sum of stake * load of its backers."""

    account: AccountId
    approval: int
    carried: int
    backers: list[int]

    def load(self) -> int:
        return -(-((1 << LOAD_BITS) + self.carried) // self.approval)


def elect(candidates: Sequence[AccountId], voters: Sequence[Voter], seats: int) -> list[Winner]:
    """Elect up to `seats` candidates, in the order in which they win.

    Targets that are no candidates do not count; a candidate without any stake behind it never
    wins. Raises BadElectionError for more than the bounds, for doubles and for bad stakes.
    """
    _check(candidates, voters)
    running = {account: _Candidate(account, 0, 0, []) for account in sorted(candidates)}
    for index, voter in enumerate(voters):
        for target in voter.targets if voter.stake else ():
            candidate = running.get(target)
            if candidate is not None:
                candidate.approval += voter.stake
                candidate.backers.append(index)
    running = {account: candidate for account, candidate in running.items() if candidate.approval}
    loads = [0] * len(voters)
    won: list[AccountId] = []
    edges: list[list[tuple[int, int]]] = [[] for _ in voters]  # (winner, load added by it)
    while running and len(won) < seats:
        # `running` is in the order of accounts, and min takes the first of equals.
        best = min(running.values(), key=_Candidate.load)
        del running[best.account]
        _carry(best, running, voters, loads, edges, len(won))
        won.append(best.account)
    return _supports(won, voters, edges)


def _carry(
    winner: _Candidate,
    running: Mapping[AccountId, _Candidate],
    voters: Sequence[Voter],
    loads: list[int],
    edges: list[list[tuple[int, int]]],
    seat: int,
) -> None:
    """Put the winner's load on its backers, and update the other candidates that they back."""
    load = winner.load()
    for index in winner.backers:
        voter, added = voters[index], load - loads[index]
        loads[index] = load
        edges[index].append((seat, added))
        for target in voter.targets:
            other = running.get(target)
            if other is not None:  # only backers of the winner changed: no other sum is touched
                other.carried += voter.stake * added


def _supports(
    won: Sequence[AccountId], voters: Sequence[Voter], edges: Sequence[Sequence[tuple[int, int]]]
) -> list[Winner]:
    backers: list[list[tuple[AccountId, int]]] = [[] for _ in won]
    for voter, own in zip(voters, edges, strict=True):
        if own:
            parts = split(voter.stake, [added for _, added in own])
            for (seat, _), part in zip(own, parts, strict=True):
                if part:
                    backers[seat].append((voter.account, part))
    return [Winner(account, tuple(own)) for account, own in zip(won, backers, strict=True)]


def _check(candidates: Sequence[AccountId], voters: Sequence[Voter]) -> None:
    if len(candidates) > CANDIDATES_MAX or len(voters) > VOTERS_MAX:
        raise BadElectionError(
            f"{len(candidates)} candidates and {len(voters)} voters are too many to count: at "
            f"most {CANDIDATES_MAX} and {VOTERS_MAX}"
        )
    if len(set(candidates)) != len(candidates):
        raise BadElectionError("a candidate stands twice")
    if len({voter.account for voter in voters}) != len(voters):
        raise BadElectionError("a voter votes twice")
    for voter in voters:
        if len(voter.targets) > TARGETS_MAX or len(set(voter.targets)) != len(voter.targets):
            raise BadElectionError(f"a voter backs up to {TARGETS_MAX} candidates, each once")
        if not 0 <= voter.stake <= STAKE_MAX:
            raise BadElectionError(f"{voter.stake} is no stake: 0 to {STAKE_MAX} planck")
