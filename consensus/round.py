"""One view: its proposal, its votes and certificates, and the ballots that this node cast in it.

`Rounds` holds the views of an epoch that still matter. Votes are held only near the current view;
certificates are held down to the last final view, because a proposal has to prove every skip since
its parent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from consensus.messages import Proposal
from consensus.signatures import Signatures
from consensus.tally import Tally
from runtime.shared.finality import Ballot, Certificate, Kind, Vote
from runtime.types.primitives import Hash, Header

VIEWS_AHEAD: Final = 16
"""Views ahead of ours whose votes are held; a peer further ahead sends certificates."""
VIEWS_BEHIND: Final = 16
"""Views behind the current and the last final one that are remembered with their votes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The proof of a leader's proposal: the parent's certificate and the NULLIFICATIONs since."""

    parent_hash: Hash
    parent: Certificate | None
    skips: tuple[Certificate, ...]


@dataclass(slots=True)
class Round:
    """The state of one view."""

    view: int
    tally: Tally
    certificates: dict[int, Certificate] = field(default_factory=dict)
    """By kind, each the first of its kind."""
    proposal: Proposal | None = None
    """The leader's first proposal, or the one that was certified."""
    plan: Plan | None = None
    """As the leader: the proof of the block that was requested."""
    draft: Header | None = None
    """As the leader: the block that waits for its vote to be signed."""
    own: dict[int, Ballot] = field(default_factory=dict)
    """The ballots that this node cast, by kind: durable before they are signed."""
    signed: dict[int, Vote] = field(default_factory=dict)

    @property
    def certificate(self) -> Certificate | None:
        """The certificate on which a later block may be built."""
        return self.certificates.get(Kind.NOTARIZE) or self.certificates.get(Kind.FINALIZE)

    @property
    def nullification(self) -> Certificate | None:
        """The NULLIFICATION."""
        return self.certificates.get(Kind.NULLIFY)

    @property
    def exit_certificate(self) -> Certificate | None:
        """The certificate that ends the view."""
        return self.certificate or self.nullification

    def certifies(self, digest: Hash) -> bool:
        """Return whether a block has a NOTARIZATION or FINALIZATION in this view."""
        return any(
            kind != Kind.NULLIFY and certificate.ballot.digest == digest
            for kind, certificate in self.certificates.items()
        )


class Rounds:
    """The views of an epoch that matter."""

    def __init__(self, signatures: Signatures, root: Hash) -> None:
        self._signatures = signatures
        self._root = root
        self._rounds: dict[int, Round] = {}

    def at(self, view: int) -> Round:
        """Return the round of a view, made if there is none."""
        round = self._rounds.get(view)
        if round is None:
            round = self._rounds[view] = Round(view, Tally(self._signatures))
        return round

    def find(self, view: int) -> Round | None:
        """Return the round of a view if there is one."""
        return self._rounds.get(view)

    def own(self) -> list[Round]:
        """Return the rounds in which this node has voted, by view."""
        return [self._rounds[view] for view in sorted(self._rounds) if self._rounds[view].own]

    def certificates(self) -> list[Certificate]:
        """Return all certificates, by view."""
        return [
            certificate
            for view in sorted(self._rounds)
            for certificate in self._rounds[view].certificates.values()
        ]

    def view_of(self, digest: Hash) -> int | None:
        """Return the highest view in which a block is certified."""
        return max(
            (view for view, round in self._rounds.items() if round.certifies(digest)), default=None
        )

    def plan(self, view: int, parent_hash: Hash) -> Plan | None:
        """Return the proof of a block of `view` on a parent; None while one is missing."""
        skips: list[Certificate] = []
        for below in range(view - 1, 0, -1):
            round = self._rounds.get(below)
            if round is None:
                return None
            if round.certifies(parent_hash):
                return Plan(parent_hash, round.certificate, tuple(reversed(skips)))
            if round.nullification is None:
                return None
            skips.append(round.nullification)
        return (
            Plan(parent_hash, None, tuple(reversed(skips))) if parent_hash == self._root else None
        )

    def forget(self, view: int, final_view: int) -> None:
        """Drop rounds behind the last final view, and votes far behind the current view."""
        for old in list(self._rounds):
            if old < final_view - VIEWS_BEHIND:
                del self._rounds[old]
            elif old < view - VIEWS_BEHIND:
                self._rounds[old].tally = Tally(self._signatures)
