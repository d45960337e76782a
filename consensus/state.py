"""The state of consensus in one epoch, and the moves on it that keep consensus safe.

`ConsensusState` holds certificates, votes, views and finality. Every move that could break safety
is a method here: adopting a certificate, casting and recording votes, finalizing, halting,
restoring the log. The engine (`consensus/engine.py`) holds one and decides which move an event
leads to.

Rules: a ballot and a certificate are persisted before they are acted on; NOTARIZE is cast once a
view and not after NULLIFY; NULLIFY not after FINALIZE; FINALIZE not after NULLIFY. Nothing here
looks at which peer sent a message. Adopting only raises `next_view`; the engine enters that view
once, at the end of a step, so that no chain of certificates recurses.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final

from consensus.blocks import Block, Blocks
from consensus.messages import (
    Broadcast,
    Commit,
    Halt,
    Proposal,
    Report,
    ReportEquivocation,
    Sign,
)
from consensus.round import VIEWS_BEHIND, Round, Rounds
from consensus.signatures import Signatures
from consensus.step_actions import StepActions
from consensus.tally import Findings, equivocations
from consensus.write_ahead_log import Record
from runtime.shared.finality import (
    AuthoritySet,
    Ballot,
    Certificate,
    Equivocation,
    Kind,
    Vote,
    claim_of,
)
from runtime.shared.leaders import VIEWS_MAX, schedule_of
from runtime.types.primitives import Hash, Header

SILENT_VIEWS_MAX: Final = 10
"""A leader without a verified vote in more views than this is skipped at once."""
RELAYS_MAX: Final = 16
"""Nodes that relay a new certificate; whose turn it is changes with the view."""


class ConsensusState:
    """The certificates, votes, views and finality of one epoch.

    `me` is this node's index in the set, None for a follower. `root` is the boundary block before
    the epoch, `last_number` the height of the epoch's own boundary block. What the moves ask the
    caller to do goes into `actions`.
    """

    def __init__(
        self,
        genesis: Hash,
        authorities: AuthoritySet,
        me: int | None,
        root: Hash,
        last_number: int,
        actions: StepActions,
    ) -> None:
        self.epoch = int(authorities.epoch)
        self.me = me
        self.root = root
        self.last_number = last_number
        self.authority_count = len(authorities.authorities)
        self.signatures = Signatures(genesis, authorities)
        self.rounds = Rounds(self.signatures, root)
        self.blocks = Blocks(root)
        self.view = 0
        self.next_view = 1
        """The view to be in at the end of the current step."""
        self.final: Certificate | None = None
        """The last FINALIZATION."""
        self.highest_certificate: Certificate | None = None
        """The NOTARIZATION or FINALIZATION of the highest view."""
        self.last_active_view = [0] * self.authority_count
        """By voter: the highest view in which a vote of it was verified."""
        self.is_halted = False
        self.is_finished = False
        self._actions = actions
        self._schedule = schedule_of(authorities)
        self._linked: Certificate | None = None  # the last FINALIZATION linked to the root
        self._reported: dict[int, None] = {}
        self._is_restoring = False

    @property
    def final_view(self) -> int:
        """The view of the last FINALIZATION; 0 before the first."""
        return 0 if self.final is None else int(self.final.ballot.view)

    def leader_of(self, view: int) -> int:
        """Return the index of a view's leader."""
        return self._schedule.leader(view)

    # ------------------------------------------------------------------------- certificates

    def is_proven(self, certificate: Certificate) -> bool:
        """Return whether a certificate is real; an adopted one is not verified again."""
        round = self.rounds.find(certificate.ballot.view)
        known = None if round is None else round.certificates.get(certificate.ballot.kind)
        return known == certificate or self.signatures.is_certified(certificate)

    def adopt(self, certificate: Certificate) -> None:
        """Act on a verified certificate."""
        ballot = certificate.ballot
        view, kind = int(ballot.view), ballot.kind
        if view < self.final_view - VIEWS_BEHIND:
            if kind == Kind.FINALIZE:
                self._finalize(certificate)
            return
        round = self.rounds.at(view)
        known = round.certificates.get(kind)
        if known is not None and known.ballot == ballot:
            return
        findings = Findings()
        round.tally.add_certificate(certificate, findings)
        self._act_on(findings)
        if known is not None:  # two blocks certified in one view: more than a third is faulty
            if kind == Kind.FINALIZE:
                self._halt(known, certificate)
            return
        round.certificates[kind] = certificate
        self._persist(certificate)
        self.mark_active([voter for voter, _ in certificate.votes], view)
        if kind != Kind.NULLIFY:
            self._certify_block(round, certificate)
        self.next_view = max(self.next_view, min(view + 1, VIEWS_MAX))
        if not self._is_restoring and self._is_relay_of(view):
            self._actions.emit(Broadcast(certificate))

    def _certify_block(self, round: Round, certificate: Certificate) -> None:
        """Treat a block as certified: vote to finalize it, or finalize it."""
        digest = certificate.ballot.digest
        block = self.blocks.get(digest)
        if block is not None:
            block.is_wanted = True
        highest = self.highest_certificate
        if highest is None or round.view > highest.ballot.view:
            self.highest_certificate = certificate
        if certificate.ballot.kind == Kind.FINALIZE:
            self._finalize(certificate)
        elif round.view >= self.next_view and not self._is_restoring:
            self.cast_vote(Kind.FINALIZE, round, digest)

    def _is_relay_of(self, view: int) -> bool:
        """Return whether it is this node's turn to relay a view's certificates."""
        return self.me is not None and (self.me - view) % self.authority_count < RELAYS_MAX

    # ----------------------------------------------------------------------------- finality

    def update_finality(self) -> None:
        """Check again what is final, because another header is known."""
        if self.final is not None and not self.blocks.link():
            self._halt(self._linked or self.final, self.final)
        self._note_final_header()

    def leaves_final_branch(self, proposal: Proposal) -> bool:
        """Return whether a proposal is not on the branch of what is final."""
        parent = proposal.parent
        if self.final is None:
            return False
        return (
            parent is None
            or parent.ballot.view < self.final_view
            or (parent.ballot.view == self.final_view and parent.ballot.digest != self.blocks.final)
            or self.blocks.conflicts(parent.ballot.digest)
        )

    def _finalize(self, certificate: Certificate) -> None:
        digest, view = certificate.ballot.digest, certificate.ballot.view
        if self.final is not None and view <= self.final_view:
            if self.blocks.conflicts(digest):
                self._halt(self.final, certificate)
            return
        if not self.blocks.finalize(digest):
            self._halt(self._linked or self.final or certificate, certificate)
            return
        self.final = certificate
        self._actions.emit(Commit(certificate))
        self._note_final_header()

    def _note_final_header(self) -> None:
        """Draw the consequences of the final block's header, once it is known."""
        if self.final is None:
            return
        digest = self.final.ballot.digest
        if self.blocks.linked == digest:
            self._linked = self.final
        block = self.blocks.get(digest)
        if block is not None:
            self.is_finished = block.header.number == self.last_number
            self.blocks.prune(block.header.number)

    def _halt(self, first: Certificate, second: Certificate) -> None:
        """Stop, because two branches are final; persist and publish both certificates."""
        self.is_halted = True
        self._persist(first)
        self._persist(second)
        for offence in equivocations([*self.rounds.certificates(), first, second]):
            self._report_equivocation(offence)
        self._actions.emit(Broadcast(first), Broadcast(second), Halt(first, second))

    # -------------------------------------------------------------------------------- votes

    def cast_vote(self, kind: Kind, round: Round, digest: Hash) -> None:
        """Decide on a vote, if the rules allow it; Signed comes back later."""
        if self.me is None or self.is_halted or self.is_finished or kind in round.own:
            return
        if kind != Kind.NULLIFY and Kind.NULLIFY in round.own:
            return
        if kind == Kind.NULLIFY and Kind.FINALIZE in round.own:
            return
        ballot = Ballot(self.epoch, round.view, int(kind), digest)
        round.own[kind] = ballot
        self._persist(ballot)
        self._actions.emit(Sign(ballot))

    def record_vote(self, vote: Vote, source: Hashable) -> None:
        """Record a well-formed vote, and act on the quorum or equivocation that it completes."""
        findings = Findings()
        self.rounds.at(vote.ballot.view).tally.add(vote, source, findings)
        self._act_on(findings)

    def recall_own_vote(self, vote: Vote) -> None:
        """Treat a verified vote of this node as cast, though the log lost its ballot.

        A peer sent it back. Without this the node could cast a conflicting one.
        """
        own = self.rounds.at(vote.ballot.view).own
        if vote.ballot.kind not in own:
            own[vote.ballot.kind] = vote.ballot
            self._persist(vote.ballot)

    def log_header(self, block: Block) -> None:
        """Persist the header of a block that may be voted for, once."""
        if not block.is_logged:
            block.is_logged = True
            self._persist(block.header)

    def _act_on(self, findings: Findings) -> None:
        for forger in findings.forgers:
            self._actions.emit(Report(forger, "a vote is forged"))
        for offence in findings.offences:
            self._report_equivocation(offence)
        for certificate in findings.certificates:
            self.adopt(certificate)

    def _report_equivocation(self, offence: Equivocation) -> None:
        """Report a voter's conflicting votes, once a voter."""
        voter = int(offence.first.voter)
        if voter not in self._reported:
            self._reported[voter] = None
            self._actions.emit(ReportEquivocation(offence))

    def _persist(self, record: Record) -> None:
        if not self._is_restoring:
            self._actions.persist(record)

    # -------------------------------------------------------------------------------- views

    def enter_next_view(self) -> None:
        """Enter `next_view`, and drop the rounds that no longer matter."""
        if self.next_view - self.view > SILENT_VIEWS_MAX:
            # So long a jump means that this node was away: it must not take its peers for silent.
            floor = self.next_view - 1
            self.last_active_view = [max(view, floor) for view in self.last_active_view]
        self.view = self.next_view
        self.rounds.forget(self.view, self.final_view)

    def mark_active(self, voters: Sequence[int], view: int) -> None:
        """Note that verified votes of these voters are known in a view."""
        for voter in voters:
            self.last_active_view[voter] = max(self.last_active_view[voter], view)

    def is_silent(self, voter: int) -> bool:
        """Return whether no vote of a voter is verified in the last SILENT_VIEWS_MAX views."""
        if voter == self.me or self.view - self.last_active_view[voter] <= SILENT_VIEWS_MAX:
            return False
        # Votes that came after their quorum were not verified, because that costs a signature
        # check each. Now it matters whether they are real.
        for view in range(self.view, self.view - SILENT_VIEWS_MAX - 1, -1):
            round = self.rounds.find(view)
            if round is not None and any(round.tally.voted(kind, voter) for kind in Kind):
                self.mark_active([voter], view)
                return False
        return True

    # ---------------------------------------------------------------------------- restoring

    def restore(self, records: Sequence[Record]) -> None:
        """Take over the log's records of this epoch, oldest first.

        Ballots come before certificates, because adopting a certificate may cast a vote.
        """
        self._is_restoring = True
        for record in records:
            if isinstance(record, Header):
                claim = claim_of(record)
                if claim is not None and claim.epoch == self.epoch:
                    self.blocks.add(record, int(claim.view), None).is_logged = True
            elif isinstance(record, Ballot) and self.signatures.is_well_formed(record):
                self.rounds.at(record.view).own.setdefault(record.kind, record)
                self.next_view = max(self.next_view, record.view)
        for record in records:
            if isinstance(record, Certificate) and self.signatures.is_certified(record):
                self.adopt(record)
        self._is_restoring = False
        # Of what adopting emitted, the newest Commit stands for all earlier ones.
        emitted = self._actions.take()
        reports = [action for action in emitted if isinstance(action, ReportEquivocation | Halt)]
        if self.final is not None:
            self._actions.emit(Commit(self.final))
        self._actions.emit(*reports)
        for round in self.rounds.own():
            self._restore_ballots(round)
        highest = self.highest_certificate
        if highest is not None and highest.ballot.view == self.next_view - 1:
            last = self.rounds.at(highest.ballot.view)
            if Kind.FINALIZE not in last.certificates:
                self.cast_vote(Kind.FINALIZE, last, highest.ballot.digest)

    def _restore_ballots(self, round: Round) -> None:
        """Sign again what was cast in a view, and restore the proposal that this node led."""
        notarized = round.own.get(Kind.NOTARIZE)
        block = None if notarized is None else self.blocks.get(notarized.digest)
        if block is not None:
            block.is_wanted = True
            if self.leader_of(round.view) == self.me:
                is_first = block.view == round.view
                parent = block.header.parent_hash if is_first else block.header.hash
                round.plan = self.rounds.plan(round.view, parent)
                round.draft = None if round.plan is None else block.header
        if round.view > max(self.final_view, self.next_view - VIEWS_BEHIND):
            self._actions.emit(*(Sign(ballot) for ballot in round.own.values()))
