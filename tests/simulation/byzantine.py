"""Nodes that break the rules, with only their own keys.

A twin is two ordinary nodes with one key that see different halves of the network; it needs no
class beyond `Copy`. A forger takes part and sends, besides, whatever might be believed:
certificates without a quorum or with signatures of something else, votes for others, proposals
with bogus skips, invalid blocks, blocks with bogus evidence, questions without end. Selective and
silent ones leave out messages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from consensus import messages as m
from consensus.messages import CertificateRequest, Message, Proposal
from runtime.shared.finality import (
    NO_DIGEST,
    Ballot,
    Certificate,
    Claim,
    Equivocation,
    Kind,
    Vote,
    skips_hash,
)
from runtime.shared.leaders import schedule_of
from runtime.types.primitives import Hash, Header
from tests.simulation.ledger import GENESIS, Body, accusation
from tests.simulation.library import Branch, Segment
from tests.simulation.node import Node
from tests.simulation.signing import sign
from tests.simulation.world import Packet

VOTES_HEARD_MAX = 200


class Copy(Node):
    """One half of a twin: honest but for the other one."""

    is_honest = False


class Silent(Node):
    """Says nothing."""

    is_honest = False

    def transmit(self, target: int, message: Message) -> None:
        """Send nothing."""


class Selective(Node):
    """Leaves out kinds of messages, or peers, or answers."""

    is_honest = False

    def boot(self) -> None:
        """Choose what to leave out."""
        rng = self.world.rng
        self.deaf = {identity for identity in self.world.copies if rng.random() < 0.4}
        self.unsaid = rng.choice((Proposal, Vote, Certificate, CertificateRequest, type(None)))
        super().boot()

    def transmit(self, target: int, message: Message) -> None:
        """Send to some, and of some kinds."""
        if target not in self.deaf and not isinstance(message, self.unsaid):
            super().transmit(target, message)

    def serve_branch(self, block: Hash, above: int) -> Branch | None:
        """Answer nothing."""
        return None


class Forger(Node):
    """Takes part, and forges."""

    is_honest = False

    def boot(self) -> None:
        """Start, with nothing heard yet."""
        self.votes: list[Vote] = []
        self.certificates: list[Certificate] = []
        super().boot()

    def deliver(self, packet: Packet) -> None:
        """Keep what may be of use, answer as an honest node, and forge now and then."""
        message = packet.message
        if isinstance(message, Vote):
            self.votes = [*self.votes[-VOTES_HEARD_MAX:], message]
        elif isinstance(message, Certificate):
            self.certificates = [*self.certificates[-VOTES_HEARD_MAX:], message]
        super().deliver(packet)
        if self.is_up and not self.is_paused and self.world.rng.random() < 0.06:
            self.forge()

    def propose(self, wanted: m.Propose) -> None:
        """Lead a view in one of several ways."""
        draw = self.world.rng.random()
        if draw < 0.3:
            super().propose(wanted)
        elif draw < 0.6:
            self._propose_on(wanted.parent, wanted.view, is_valid=draw < 0.5)
        else:
            self._propose_with_bogus_skips(wanted.view)

    def forge(self) -> None:
        """Send one forgery to everyone, or to one."""
        rng = self.world.rng
        ways: Sequence[Callable[[], Message | None]] = (
            self._bare_certificate,
            self._copied_certificate,
            self._bogus_certificate,
            self._bogus_vote,
            self._foreign_vote,
            self._contradiction,
            self._old_vote,
            self._question,
            self._tampered,
        )
        message = rng.choice(ways)()
        if message is None:
            return
        self.world.counts["forged"] += 1
        if rng.random() < 0.5:
            self.broadcast(message)
        else:
            self.transmit(rng.choice(list(self.world.copies)), message)

    # ------------------------------------------------------------------------------- forgeries

    def _ballot(self) -> Ballot:
        """Think of a ballot near the present view."""
        rng = self.world.rng
        view = max(1, self.engine.view + rng.randrange(-2, 4))
        kind = rng.choice(list(Kind))
        digests = [vote.ballot.digest for vote in self.votes if vote.ballot.kind != Kind.NULLIFY]
        digest = rng.choice([*digests, Hash(rng.randbytes(32))])
        return Ballot(self.epoch, view, int(kind), NO_DIGEST if kind == Kind.NULLIFY else digest)

    def _own(self, ballot: Ballot) -> Vote | None:
        if self.me is None:
            return None
        vote = sign(GENESIS, self.identity, self.me, ballot)
        self.world.oracle.on_sign(self, vote)
        return vote

    def _bare_certificate(self) -> Certificate | None:
        """What was heard on a ballot, short of a quorum."""
        ballot = self.world.rng.choice(self.votes).ballot if self.votes else self._ballot()
        votes = {vote.voter: vote.signature for vote in self.votes if vote.ballot == ballot}
        own = self._own(ballot)
        if own is not None:
            votes[own.voter] = own.signature
        votes.popitem() if len(votes) > 2 else None
        return Certificate(ballot, tuple(sorted(votes.items())))

    def _bogus_certificate(self) -> Certificate:
        return self._forged(self._ballot())

    def _forged(self, ballot: Ballot) -> Certificate:
        """Everybody's vote, by signatures that are none or that are of other votes."""
        rng = self.world.rng
        votes = {}
        for voter in range(len(self.authorities.authorities)):
            heard = [vote.signature for vote in self.votes if vote.voter == voter]
            votes[voter] = rng.choice(heard) if heard and rng.random() < 0.5 else rng.randbytes(64)
        own = self._own(ballot)
        if own is not None:
            votes[own.voter] = own.signature
        return Certificate(ballot, tuple(sorted(votes.items())))

    def _copied_certificate(self) -> Certificate | None:
        """A real one with another ballot, or one voter twice."""
        if not self.certificates:
            return None
        found = self.world.rng.choice(self.certificates)
        if self.world.rng.random() < 0.5:
            return Certificate(self._ballot(), found.votes)
        return Certificate(found.ballot, (found.votes[0], *found.votes))

    def _bogus_vote(self) -> Vote:
        """A vote in another voter's name, or of an index outside the set."""
        rng = self.world.rng
        voter = rng.randrange(len(self.authorities.authorities) + 2)
        return Vote(self._ballot(), voter, rng.randbytes(64))

    def _foreign_vote(self) -> Vote | None:
        """A vote of ours under another's index."""
        own = self._own(self._ballot())
        if own is None:
            return None
        return Vote(
            own.ballot, self.world.rng.randrange(len(self.authorities.authorities)), own.signature
        )

    def _contradiction(self) -> Vote | None:
        """A vote of ours, whatever we said before."""
        return self._own(self._ballot())

    def _old_vote(self) -> Vote | None:
        """A real vote of an earlier epoch, as it was or as if it were of this one."""
        if not self.votes:
            return None
        vote = self.world.rng.choice(self.votes)
        ballot = vote.ballot
        moved = Ballot(self.epoch, ballot.view, ballot.kind, ballot.digest)
        return Vote(moved if self.world.rng.random() < 0.5 else ballot, vote.voter, vote.signature)

    def _question(self) -> CertificateRequest:
        rng = self.world.rng
        first = rng.choice((0, 1, self.engine.view, 2**40))
        return CertificateRequest(self.epoch, first, rng.choice((first, first + 1, 2**63, 0)))

    def _tampered(self) -> Message | None:
        """A certificate with one signature changed."""
        if not self.certificates:
            return None
        found = self.world.rng.choice(self.certificates)
        at = self.world.rng.randrange(len(found.votes))
        votes = list(found.votes)
        votes[at] = (votes[at][0], bytes(64))
        return Certificate(found.ballot, tuple(votes))

    # ------------------------------------------------------------------------------- proposals

    def _propose_on(self, parent: Hash, view: int, *, is_valid: bool) -> None:
        """Propose an invalid block, or one with evidence that holds nothing."""
        header = self.library.blocks.get(parent)
        plan = self.engine.state.rounds.plan(view, parent)
        if header is None or plan is None:
            return
        body: Body = (self._bogus_evidence(),) if is_valid else ()
        self._send_block(header, view, plan.parent, plan.skips, body, is_valid=is_valid)

    def _propose_with_bogus_skips(self, view: int) -> None:
        """Build on an old block, as if every view since had been skipped."""
        rng = self.world.rng
        length = self.world.ledger.epoch_blocks
        known = [
            certificate
            for certificate in self.engine.state.rounds.certificates()
            if certificate.ballot.kind == Kind.NOTARIZE
            and certificate.ballot.digest in self.library.blocks
            and certificate.ballot.view < view
        ]
        parent = rng.choice([None, *known])
        below = 0 if parent is None else int(parent.ballot.view)
        header = (
            self.library.finals[self.epoch * length]
            if parent is None
            else self.library.blocks[parent.ballot.digest]
        )
        if view - below > 20 or header.number >= self.last_number:
            return
        skips = []
        for skipped in range(below + 1, view):
            found = self.engine.state.rounds.find(skipped)
            real = None if found is None else found.nullification
            forged = self._forged(Ballot(self.epoch, skipped, int(Kind.NULLIFY), NO_DIGEST))
            skips.append(real or forged)
        self._send_block(header, view, parent, tuple(skips), (), is_valid=True)

    def _send_block(
        self,
        parent: Header,
        view: int,
        certificate: Certificate | None,
        skips: tuple[Certificate, ...],
        body: Body,
        *,
        is_valid: bool,
    ) -> None:
        if schedule_of(self.authorities).leader(view) != self.me:
            return
        claim = Claim(self.epoch, view, skips_hash(skips))
        header = self.world.ledger.build(parent, claim, body, is_valid=is_valid)
        vote = self._own(Ballot(self.epoch, view, int(Kind.NOTARIZE), header.hash))
        if vote is None:
            return
        self.library.bodies[header.hash] = body
        self.world.counts["bogus-proposal"] += 1
        self.broadcast(Proposal(header, vote, certificate, skips))

    def _bogus_evidence(self) -> bytes:
        """Two votes of one honest voter that it never gave."""
        rng = self.world.rng
        voter = rng.randrange(len(self.authorities.authorities))
        first = Ballot(self.epoch, 1, int(Kind.NULLIFY), NO_DIGEST)
        second = Ballot(self.epoch, 1, int(Kind.FINALIZE), Hash(rng.randbytes(32)))
        return accusation(
            Equivocation(
                Vote(first, voter, rng.randbytes(64)), Vote(second, voter, rng.randbytes(64))
            )
        )

    # --------------------------------------------------------------------------------- serving

    def serve_finals(self, first: int) -> Sequence[Segment]:
        """Serve final blocks with a forged certificate."""
        found = super().serve_finals(first)
        if self.world.rng.random() < 0.5:
            return found
        return [(branch, self._forged(certificate.ballot)) for branch, certificate in found]
