"""What moves consensus on: certificates, votes, views. The rules that keep it safe are here.

`Progress` holds the state of one epoch. `engine.py` feeds it with events; nothing here looks at who
sent what. A step first adopts, and moves to the next view once, at its end (`_proceed`), so that no
chain of certificates makes it recurse.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from consensus.blocks import Block, Blocks, Status
from consensus.catchup import Catchup
from consensus.messages import (
    Action,
    Broadcast,
    Commit,
    Convict,
    Execute,
    Halt,
    Notarized,
    Persist,
    Proposal,
    Propose,
    Report,
    SetTimer,
    Sign,
    Timer,
    TimerKind,
)
from consensus.round import VIEWS_BEHIND, Round, Rounds
from consensus.signatures import Signatures
from consensus.tally import Findings, equivocations
from consensus.wal import Record, encode_record
from runtime.shared.finality import (
    NO_DIGEST,
    AuthoritySet,
    Ballot,
    Certificate,
    Claim,
    Equivocation,
    Kind,
    Vote,
    skips_hash,
)
from runtime.shared.leaders import VIEWS_MAX, schedule_of
from runtime.types.primitives import Hash

SILENT_VIEWS: Final = 10
"""A leader that was not heard in more views is skipped at once."""
RELAYS: Final = 16
"""Nodes that pass on a new certificate; their turn changes with the view."""
LINK_VIEWS_MAX: Final = VIEWS_BEHIND
"""Missed views whose headers are asked for to prove a branch; peers remember no more of them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Times: `delay_ms` is D, the delay of a message that a healthy network stays below."""

    delay_ms: int = 1000

    @property
    def leader_ms(self) -> int:
        """How long a view waits for its proposal."""
        return 2 * self.delay_ms

    @property
    def advance_ms(self) -> int:
        """How long a view waits for its NOTARIZATION."""
        return 3 * self.delay_ms

    @property
    def retry_ms(self) -> int:
        """How often a view that lasts repeats what it said."""
        return 2 * self.delay_ms


class Progress:
    """The state of consensus on the blocks of one epoch, and its moves."""

    def __init__(
        self,
        genesis: Hash,
        authorities: AuthoritySet,
        me: int | None,
        root: Hash,
        last_number: int,
        settings: Settings,
    ) -> None:
        self.epoch = int(authorities.epoch)
        self.view = 0
        self.final: Certificate | None = None
        self.is_halted = False
        self.is_finished = False
        self.signatures = Signatures(genesis, authorities)
        self._me = me
        self._root = root
        self._last_number = last_number
        self._settings = settings
        self._schedule = schedule_of(authorities)
        self._rounds = Rounds(self.signatures, root)
        self._blocks = Blocks(root)
        self._catchup = Catchup(self.epoch, self._rounds, self._blocks)
        self._target = 1  # the view to be in at the end of this step
        self._top: Certificate | None = None  # the support of the highest view
        self._best_view = 0
        self._linked: Certificate | None = None  # the last FINALIZATION on a known way
        self._heard = [0] * len(authorities.authorities)
        self._convicted: dict[int, None] = {}
        self._is_restoring = False
        self._records: list[Persist] = []
        self._effects: list[Action] = []

    @property
    def final_view(self) -> int:
        """The view of the last FINALIZATION; 0 before the first."""
        return 0 if self.final is None else int(self.final.ballot.view)

    # ------------------------------------------------------------------------- certificates

    def _adopt(self, certificate: Certificate) -> None:
        """Act on a verified certificate."""
        ballot = certificate.ballot
        view, kind = int(ballot.view), ballot.kind
        if view < self.final_view - VIEWS_BEHIND:
            if kind == Kind.FINALIZE:
                self._finalize(certificate)
            return
        one = self._rounds.at(view)
        held = one.certificates.get(kind)
        if held is not None and held.ballot == ballot:
            return
        findings = Findings()
        one.tally.note(certificate, findings)
        self._handle(findings)
        if held is not None:  # two blocks certified in a view: more than a third is faulty
            if kind == Kind.FINALIZE:
                self._halt(held, certificate)
            return
        one.certificates[kind] = certificate
        self._persist(certificate)
        self._hear([voter for voter, _ in certificate.votes], view)
        if kind != Kind.NULLIFY:
            self._support(one, certificate)
        self._target = max(self._target, min(view + 1, VIEWS_MAX))
        if not self._is_restoring and self._relays(view):
            self._effects.append(Broadcast(certificate))

    def _support(self, one: Round, certificate: Certificate) -> None:
        """Take a block as certified: vote to finalize it, or finalize it."""
        digest = certificate.ballot.digest
        block = self._blocks.get(digest)
        if block is not None:
            block.is_wanted = True
        if self._top is None or one.view > self._top.ballot.view:
            self._top = certificate
        if certificate.ballot.kind == Kind.FINALIZE:
            self._finalize(certificate)
        elif one.view >= self._target and not self._is_restoring:
            self._vote(Kind.FINALIZE, one, digest)

    def _finalize(self, certificate: Certificate) -> None:
        digest, view = certificate.ballot.digest, certificate.ballot.view
        if self.final is not None and view <= self.final_view:
            if self._blocks.conflicts(digest):
                self._halt(self.final, certificate)
            return
        if not self._blocks.finalize(digest):
            self._halt(self._linked or self.final or certificate, certificate)
            return
        self.final = certificate
        self._effects.append(Commit(certificate))
        self._mark_final()

    def _mark_final(self) -> None:
        """Note what the header of the final block, once known, means."""
        if self.final is None:
            return
        digest = self.final.ballot.digest
        if self._blocks.linked == digest:
            self._linked = self.final
        block = self._blocks.get(digest)
        if block is not None:
            self.is_finished = block.header.number == self._last_number
            self._blocks.prune(block.header.number)

    def _halt(self, first: Certificate, second: Certificate) -> None:
        """Two branches are final: keep both certificates, tell everyone, and stop."""
        self.is_halted = True
        self._persist(first)
        self._persist(second)
        for offence in equivocations([*self._rounds.certificates(), first, second]):
            self._convict(offence)
        self._effects += [Broadcast(first), Broadcast(second), Halt(first, second)]

    def _relays(self, view: int) -> bool:
        """Say whether it is this node's turn to pass on a view's certificates."""
        count = len(self._heard)
        return self._me is not None and (self._me - view) % count < RELAYS

    # -------------------------------------------------------------------------------- votes

    def _count(self, vote: Vote, source: Hashable) -> None:
        findings = Findings()
        self._rounds.at(vote.ballot.view).tally.add(vote, source, findings)
        self._handle(findings)

    def _handle(self, findings: Findings) -> None:
        for forger in findings.forgers:
            self._effects.append(Report(forger, "a vote is forged"))
        for offence in findings.offences:
            self._convict(offence)
        for certificate in findings.certificates:
            self._adopt(certificate)

    def _convict(self, offence: Equivocation) -> None:
        voter = int(offence.first.voter)
        if voter not in self._convicted:
            self._convicted[voter] = None
            self._effects.append(Convict(offence))

    def _vote(self, kind: Kind, one: Round, digest: Hash) -> None:
        """Decide on a vote, where the rules leave it open; Signed comes back later."""
        if self._me is None or self.is_halted or self.is_finished or kind in one.own:
            return
        if kind != Kind.NULLIFY and Kind.NULLIFY in one.own:
            return
        if kind == Kind.NULLIFY and Kind.FINALIZE in one.own:
            return
        ballot = Ballot(self.epoch, one.view, int(kind), digest)
        one.own[kind] = ballot
        self._persist(ballot)
        self._effects.append(Sign(ballot))

    def _persist(self, record: Record) -> None:
        if not self._is_restoring:
            self._records.append(Persist(encode_record(record)))

    def _log_header(self, block: Block) -> None:
        if not block.is_logged:
            block.is_logged = True
            self._persist(block.header)

    # -------------------------------------------------------------------------------- views

    def _proceed(self) -> None:
        """End a step: enter the view to be in, execute, propose, vote, and ask for what lacks."""
        if self.is_halted or self.view == 0:
            return
        if self._target > self.view and not self.is_finished:
            self._enter()
        for block in self._blocks.ready():
            self._effects.append(Execute(block.header, block.source))
        top = self._top
        is_news = top is not None and top.ballot.view > self._best_view
        if top is not None and is_news and self._blocks.is_valid(top.ballot.digest):
            self._best_view = int(top.ballot.view)
            self._effects.append(Notarized(top))
        if not self.is_finished:
            one = self._rounds.at(self.view)
            if self._leader(self.view) == self._me:
                self._lead(one)
            self._decide(one)
        self._seek()

    def _enter(self) -> None:
        if self._target - self.view > SILENT_VIEWS:  # we were away, not they
            self._heard = [max(heard, self._target - 1) for heard in self._heard]
        self.view = self._target
        self._rounds.forget(self.view, self.final_view)
        self._catchup.tick()
        timers = [(TimerKind.RETRY, self._settings.retry_ms)]
        if self._me is not None:
            timers.insert(0, (TimerKind.LEADER, self._settings.leader_ms))
            timers.insert(1, (TimerKind.ADVANCE, self._settings.advance_ms))
        self._effects += [SetTimer(Timer(self.view, kind), delay_ms) for kind, delay_ms in timers]
        if self._is_silent(self._leader(self.view)):
            self._vote(Kind.NULLIFY, self._rounds.at(self.view), NO_DIGEST)

    def _lead(self, one: Round) -> None:
        """Propose, once the parent is executed and the skips since are proven."""
        if one.plan is not None or Kind.NULLIFY in one.own or Kind.NOTARIZE in one.own:
            return
        parent = self._root if self._top is None else self._top.ballot.digest
        block = self._blocks.get(parent)
        is_ready = self._blocks.is_valid(parent) or parent == self._blocks.final
        if not is_ready or (block is None and parent != self._root):
            return
        plan = self._rounds.plan(one.view, parent)
        if plan is None:
            low = 0 if self._top is None else int(self._top.ballot.view)
            self._effects += self._catchup.ask(low + 1, one.view - 1)
            return
        one.plan = plan
        if block is not None and block.header.number == self._last_number:
            one.draft = block.header
            self._vote(Kind.NOTARIZE, one, parent)
            return
        claim = Claim(self.epoch, one.view, skips_hash(plan.skips))
        self._effects.append(Propose(one.view, parent, claim))

    def _decide(self, one: Round) -> None:
        """Vote on the proposal of the current view as far as the block is known."""
        leader = self._leader(one.view)
        if leader != self._me and one.tally.voted(Kind.NULLIFY, leader):
            self._vote(Kind.NULLIFY, one, NO_DIGEST)
        if one.proposal is None or Kind.NOTARIZE in one.own:
            return
        digest = one.proposal.vote.ballot.digest
        block = self._blocks.get(digest)
        if block is not None and block.status == Status.INVALID:
            self._vote(Kind.NULLIFY, one, NO_DIGEST)
        elif self._blocks.is_valid(digest) and not self._leaves_final(one.proposal):
            self._vote(Kind.NOTARIZE, one, digest)

    def _leaves_final(self, proposal: Proposal) -> bool:
        """Say whether a proposal is not on the branch of what is final."""
        parent = proposal.parent
        if self.final is None:
            return False
        return (
            parent is None
            or parent.ballot.view < self.final_view
            or (
                parent.ballot.view == self.final_view and parent.ballot.digest != self._blocks.final
            )
            or self._blocks.conflicts(parent.ballot.digest)
        )

    def _seek(self) -> None:
        """Ask for headers and skips without which this node cannot go on."""
        if self._top is None:
            return
        final, low = self._blocks.final, self.final_view
        tip = self._catchup.view_to_ask(self._top.ballot.digest, final)
        if tip is not None:
            self._effects += self._catchup.ask(min(low + 1, tip), tip)
        gap = None if low == 0 else self._catchup.view_to_ask(final, self._root)
        if gap is not None and low - gap <= LINK_VIEWS_MAX:
            self._effects += self._catchup.ask(1, gap)

    # ------------------------------------------------------------------------ small answers

    def _leader(self, view: int) -> int:
        return self._schedule.leader(view)

    def _hear(self, voters: list[int], view: int) -> None:
        for voter in voters:
            self._heard[voter] = max(self._heard[voter], view)

    def _is_silent(self, voter: int) -> bool:
        if voter == self._me or self.view - self._heard[voter] <= SILENT_VIEWS:
            return False
        # Votes that came after their quorum were not looked at: now it matters who signed them.
        for view in range(self.view, self.view - SILENT_VIEWS - 1, -1):
            one = self._rounds.find(view)
            if one is not None and any(one.tally.voted(kind, voter) for kind in Kind):
                self._hear([voter], view)
                return False
        return True
