"""The votes of one view: who said what, when it is a certificate, and who said two things.

A vote is held unchecked until the votes on its ballot would be a quorum; then just as many are
verified as the quorum needs. Each voter has one place for each kind: a second, different vote makes
the two be verified, and either one of them was forged or their voter is convicted. So a Byzantine
voter can fill three places in a view and no more.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Final

from consensus.signatures import Signatures
from runtime.shared.finality import Ballot, Certificate, Equivocation, Kind, Vote, conflict

_EXCLUDED: Final = {Kind.FINALIZE: Kind.NULLIFY, Kind.NULLIFY: Kind.FINALIZE}


@dataclass(slots=True)
class Findings:
    """What counting votes has brought to light."""

    certificates: list[Certificate] = field(default_factory=list)
    offences: list[Equivocation] = field(default_factory=list)
    forgers: list[Hashable] = field(default_factory=list)
    """Sources of votes that their voter has not signed."""


@dataclass(slots=True)
class _Held:
    vote: Vote
    source: Hashable
    is_real: bool


class Tally:
    """Counts the votes of one view."""

    def __init__(self, signatures: Signatures) -> None:
        self._signatures = signatures
        self._places: dict[tuple[int, int], _Held] = {}
        self._held: dict[Ballot, dict[int, _Held]] = {}
        self._weights: dict[Ballot, int] = {}
        self._closed: dict[Ballot, None] = {}

    def voted(self, kind: Kind, voter: int) -> bool:
        """Say whether a voter has certainly given a vote of this kind."""
        held = self._places.get((kind, voter))
        return held is not None and self._is_real(held)

    def add(self, vote: Vote, source: Hashable, findings: Findings) -> None:
        """Count a well-formed vote of a member of the set."""
        if not self._place(_Held(vote, source, is_real=False), findings):
            return
        ballot = vote.ballot
        if ballot not in self._closed and self._signatures.is_quorum(self._weights[ballot]):
            self._settle(ballot, findings)

    def note(self, certificate: Certificate, findings: Findings) -> None:
        """Take the votes of a verified certificate, for the offences that they prove."""
        ballot = certificate.ballot
        self._closed[ballot] = None
        for voter, signature in certificate.votes:
            held = self._places.get((ballot.kind, voter))
            if held is None or not held.is_real or held.vote.ballot != ballot:
                vote = Vote(ballot, voter, signature)
                self._place(_Held(vote, None, is_real=True), findings)

    def _place(self, new: _Held, findings: Findings) -> bool:
        """Put a vote in its voter's place; False where it is taken or the vote is forged."""
        vote = new.vote
        place = (vote.ballot.kind, vote.voter)
        old = self._places.get(place)
        if old is not None and not self._gives_way(old, new, findings):
            return False
        excluded = _EXCLUDED.get(Kind(vote.ballot.kind))
        other = self._places.get((excluded, vote.voter)) if excluded is not None else None
        if other is not None:
            if not self._is_real(new):
                findings.forgers.append(new.source)
                return False
            if self._is_real(other):
                findings.offences.append(Equivocation(other.vote, vote))
            else:
                self._remove(other, findings)
        self._places[place] = new
        self._held.setdefault(vote.ballot, {})[vote.voter] = new
        weight = self._signatures.weights[vote.voter]
        self._weights[vote.ballot] = self._weights.get(vote.ballot, 0) + weight
        return True

    def _gives_way(self, old: _Held, new: _Held, findings: Findings) -> bool:
        if old.vote == new.vote:
            old.is_real = old.is_real or new.is_real
            return False
        if old.vote.ballot == new.vote.ballot and old.is_real:
            return False
        if not self._is_real(old):
            self._remove(old, findings)
            return True
        if not self._is_real(new):
            findings.forgers.append(new.source)
        elif conflict(old.vote.ballot, new.vote.ballot):
            findings.offences.append(Equivocation(old.vote, new.vote))
        return False

    def _settle(self, ballot: Ballot, findings: Findings) -> None:
        """Verify as many of the held votes as a quorum needs, those that are known first."""
        held = self._held[ballot]
        counted: dict[int, bytes] = {}
        weight = 0
        for voter in sorted(held, key=lambda voter: (not held[voter].is_real, voter)):
            if self._signatures.is_quorum(weight):
                break
            if self._is_real(held[voter]):
                counted[voter] = held[voter].vote.signature
                weight += self._signatures.weights[voter]
            else:
                self._remove(held[voter], findings)
        if self._signatures.is_quorum(weight):
            self._closed[ballot] = None
            findings.certificates.append(
                Certificate(ballot, tuple((voter, counted[voter]) for voter in sorted(counted)))
            )

    def _is_real(self, held: _Held) -> bool:
        held.is_real = held.is_real or self._signatures.is_signed(held.vote)
        return held.is_real

    def _remove(self, held: _Held, findings: Findings) -> None:
        vote = held.vote
        findings.forgers.append(held.source)
        del self._places[vote.ballot.kind, vote.voter]
        held_alike = self._held[vote.ballot]
        del held_alike[vote.voter]
        self._weights[vote.ballot] -= self._signatures.weights[vote.voter]
        if not held_alike:  # forged digests leave nothing behind
            del self._held[vote.ballot], self._weights[vote.ballot]


def equivocations(certificates: Iterable[Certificate]) -> list[Equivocation]:
    """Return the offences that verified certificates of one epoch prove, one for each voter.

    Of two branches that were both finalized this convicts more than a third of the weight, given
    the certificates that their headers commit to.
    """
    seen: dict[tuple[int, int], list[Vote]] = {}
    found: dict[int, Equivocation] = {}
    for certificate in certificates:
        ballot = certificate.ballot
        for voter, signature in certificate.votes:
            vote = Vote(ballot, voter, signature)
            others = seen.setdefault((ballot.view, voter), [])
            for other in others:
                if conflict(other.ballot, ballot):
                    found.setdefault(voter, Equivocation(other, vote))
            if all(other.ballot != ballot for other in others):
                others.append(vote)
    return [found[voter] for voter in sorted(found)]
