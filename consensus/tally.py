"""The votes of one view: when they are a certificate, and which voters equivocate.

A vote is held unverified until the votes on its ballot would be a quorum; then just as many are
verified as the quorum needs, because a signature check costs more than all other work on a vote.
Each voter has one place for each kind: a second, different vote makes both be verified, and then
either one of them was forged or their voter equivocated. So a Byzantine voter can fill three places
in a view and no more.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Final

from consensus.signatures import Signatures
from runtime.shared.finality import Ballot, Certificate, Equivocation, Kind, Vote, conflict

_CONFLICTING_KIND: Final = {Kind.FINALIZE: Kind.NULLIFY, Kind.NULLIFY: Kind.FINALIZE}


@dataclass(slots=True)
class Findings:
    """The results of recording votes."""

    certificates: list[Certificate] = field(default_factory=list)
    offences: list[Equivocation] = field(default_factory=list)
    forgers: list[Hashable] = field(default_factory=list)
    """Sources of votes that their voter has not signed."""


@dataclass(slots=True)
class _RecordedVote:
    vote: Vote
    source: Hashable
    is_verified: bool


class Tally:
    """Counts the votes of one view."""

    def __init__(self, signatures: Signatures) -> None:
        self._signatures = signatures
        self._places: dict[tuple[int, int], _RecordedVote] = {}
        self._by_ballot: dict[Ballot, dict[int, _RecordedVote]] = {}
        self._weights: dict[Ballot, int] = {}
        self._certified: dict[Ballot, None] = {}

    def voted(self, kind: Kind, voter: int) -> bool:
        """Return whether a voter has a verified vote of this kind."""
        recorded = self._places.get((kind, voter))
        return recorded is not None and self._verify(recorded)

    def add(self, vote: Vote, source: Hashable, findings: Findings) -> None:
        """Record a well-formed vote of a member of the set."""
        if not self._place(_RecordedVote(vote, source, is_verified=False), findings):
            return
        ballot = vote.ballot
        if ballot not in self._certified and self._signatures.is_quorum(self._weights[ballot]):
            self._certify(ballot, findings)

    def add_certificate(self, certificate: Certificate, findings: Findings) -> None:
        """Record the votes of a verified certificate, for the offences that they prove."""
        ballot = certificate.ballot
        self._certified[ballot] = None
        for voter, signature in certificate.votes:
            recorded = self._places.get((ballot.kind, voter))
            if recorded is None or not recorded.is_verified or recorded.vote.ballot != ballot:
                vote = Vote(ballot, voter, signature)
                self._place(_RecordedVote(vote, None, is_verified=True), findings)

    def _place(self, new: _RecordedVote, findings: Findings) -> bool:
        """Put a vote in its voter's place; False if that is taken or the vote is forged."""
        vote = new.vote
        place = (vote.ballot.kind, vote.voter)
        old = self._places.get(place)
        if old is not None and not self._is_replaceable(old, new, findings):
            return False
        conflicting = _CONFLICTING_KIND.get(Kind(vote.ballot.kind))
        other = None if conflicting is None else self._places.get((conflicting, vote.voter))
        if other is not None:
            if not self._verify(new):
                findings.forgers.append(new.source)
                return False
            if self._verify(other):
                findings.offences.append(Equivocation(other.vote, vote))
            else:
                self._remove(other, findings)
        self._places[place] = new
        self._by_ballot.setdefault(vote.ballot, {})[vote.voter] = new
        weight = self._signatures.weights[vote.voter]
        self._weights[vote.ballot] = self._weights.get(vote.ballot, 0) + weight
        return True

    def _is_replaceable(self, old: _RecordedVote, new: _RecordedVote, findings: Findings) -> bool:
        if old.vote == new.vote:
            old.is_verified = old.is_verified or new.is_verified
            return False
        if old.vote.ballot == new.vote.ballot and old.is_verified:
            return False
        if not self._verify(old):
            self._remove(old, findings)
            return True
        if not self._verify(new):
            findings.forgers.append(new.source)
        elif conflict(old.vote.ballot, new.vote.ballot):
            findings.offences.append(Equivocation(old.vote, new.vote))
        return False

    def _certify(self, ballot: Ballot, findings: Findings) -> None:
        """Verify as many of the held votes as a quorum needs, those verified before first."""
        recorded = self._by_ballot[ballot]
        counted: dict[int, bytes] = {}
        weight = 0
        for voter in sorted(recorded, key=lambda voter: (not recorded[voter].is_verified, voter)):
            if self._signatures.is_quorum(weight):
                break
            if self._verify(recorded[voter]):
                counted[voter] = recorded[voter].vote.signature
                weight += self._signatures.weights[voter]
            else:
                self._remove(recorded[voter], findings)
        if self._signatures.is_quorum(weight):
            self._certified[ballot] = None
            findings.certificates.append(
                Certificate(ballot, tuple((voter, counted[voter]) for voter in sorted(counted)))
            )

    def _verify(self, recorded: _RecordedVote) -> bool:
        recorded.is_verified = recorded.is_verified or self._signatures.is_signed(recorded.vote)
        return recorded.is_verified

    def _remove(self, recorded: _RecordedVote, findings: Findings) -> None:
        vote = recorded.vote
        findings.forgers.append(recorded.source)
        del self._places[vote.ballot.kind, vote.voter]
        votes = self._by_ballot[vote.ballot]
        del votes[vote.voter]
        self._weights[vote.ballot] -= self._signatures.weights[vote.voter]
        if not votes:  # forged digests leave nothing behind
            del self._by_ballot[vote.ballot], self._weights[vote.ballot]


def equivocations(certificates: Iterable[Certificate]) -> list[Equivocation]:
    """Return the offences that verified certificates of one epoch prove, one for each voter.

    Of two branches that were both finalized this convicts more than a third of the weight, given
    the certificates that their headers commit to.
    """
    seen: dict[tuple[int, int], list[Vote]] = {}
    offences: dict[int, Equivocation] = {}
    for certificate in certificates:
        ballot = certificate.ballot
        for voter, signature in certificate.votes:
            vote = Vote(ballot, voter, signature)
            others = seen.setdefault((ballot.view, voter), [])
            for other in others:
                if conflict(other.ballot, ballot):
                    offences.setdefault(voter, Equivocation(other, vote))
            if all(other.ballot != ballot for other in others):
                others.append(vote)
    return [offences[voter] for voter in sorted(offences)]
