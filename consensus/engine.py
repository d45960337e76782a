"""The engine of stake-weighted Simplex: one epoch of one node, without I/O.

    event                             condition                        what is done
    --------------------------------  -------------------------------  --------------------------
    Start                             once                             restore, enter the view
    enter view v                      I lead, way to parent is known   Propose, or boundary again
                                      leader silent > 10 views         NULLIFY(v)
    Received Proposal                 form, certificates, leader hold  adopt them, Execute
    Executed, valid                   of this view, no NULLIFY(v)      NOTARIZE(v, block)
    Executed, invalid                 of this view                     NULLIFY(v)
    Built                             of this view, no NULLIFY(v)      NOTARIZE(v, block)
    Signed                            this was to be signed            Broadcast; leader: Proposal
    timer LEADER (2D)                 no proposal                      NULLIFY(v)
    timer ADVANCE (3D)                still in v                       NULLIFY(v)
    timer RETRY (2D, again)           still in v                       own votes and certificates
    leader's own NULLIFY(v)           verified                         NULLIFY(v)
    NOTARIZATION(v), v >= view        no NULLIFY(v)                    FINALIZE(v), enter v + 1
    NULLIFICATION(v), v >= view                                        enter v + 1
    FINALIZATION(v), v > final        on the branch of what is final   Commit
    FINALIZATION                      on another branch                Halt
    two votes that exclude            both verified                    Convict, once a voter
    vote of an old view, Ask                                           Send certificates

Rules: nothing is signed before its ballot is durable; NOTARIZE once a view and not after NULLIFY;
NULLIFY not after FINALIZE; FINALIZE not after NULLIFY. A certificate is durable before it is acted
on. All Persists of a step come before its other actions, so the caller may write them in one go.

The engine refuses to know bodies, state, clocks and who its peers are. Sources: Chan and Pass,
"Simplex Consensus" (2023), and the variant documented in commonware-consensus.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from consensus.blocks import Status
from consensus.messages import (
    Action,
    Broadcast,
    Built,
    Commit,
    Convict,
    Event,
    Executed,
    Halt,
    Imported,
    Message,
    Proposal,
    Received,
    Report,
    Send,
    SetTimer,
    Sign,
    Signed,
    Start,
    TimedOut,
    Timer,
    TimerKind,
)
from consensus.progress import Progress, Settings
from consensus.proposals import BadProposalError, OtherSkipsError, check_form, is_again
from consensus.round import VIEWS_AHEAD, VIEWS_BEHIND, Round
from consensus.wal import Record, decode_record
from runtime.shared.finality import (
    NO_DIGEST,
    AuthoritySet,
    Ballot,
    Certificate,
    Claim,
    Kind,
    Vote,
    claim_of,
    skips_hash,
)
from runtime.shared.leaders import VIEWS_MAX
from runtime.types.primitives import Hash, Header

__all__ = ["Engine", "Settings"]

EARLY_MAX: Final = 256
"""Messages kept until Start."""


class Engine(Progress):
    """Consensus on the blocks of one epoch. `me` is an index into the set; None only follows.

    `root` is the boundary block before the epoch (genesis for the first), `last_number` the height
    of the epoch's own boundary block, which is proposed again until it is final.
    """

    def __init__(
        self,
        genesis: Hash,
        authorities: AuthoritySet,
        me: int | None,
        root: Hash,
        last_number: int,
        settings: Settings,
    ) -> None:
        super().__init__(genesis, authorities, me, root, last_number, settings)
        self._early: list[Received] = []

    def step(self, event: Event) -> list[Action]:
        """Take one event and return what to do, in order, Persists first."""
        if self.is_halted:
            return []
        self._records, self._effects = [], []
        if self.view == 0:
            self._begin(event)
        else:
            self._apply(event)
        self._proceed()
        return [*self._records, *self._effects]

    def _apply(self, event: Event) -> None:
        match event:
            case Received(source, message):
                self._on_message(source, message)
            case TimedOut(timer):
                self._on_timer(timer)
            case Built():
                self._on_built(event)
            case Executed():
                self._on_executed(event)
            case Signed(vote):
                self._on_signed(vote)
            case Imported(header):
                self._on_imported(header)
            case Start():
                return  # it has begun

    # ---------------------------------------------------------------------------- beginning

    def _begin(self, event: Event) -> None:
        if isinstance(event, Received) and len(self._early) < EARLY_MAX:
            self._early.append(event)
        if not isinstance(event, Start):
            return
        self._restore([decode_record(record) for record in event.records])
        self._enter()
        for early in self._early:
            self._apply(early)
        self._early.clear()

    def _restore(self, records: list[Record]) -> None:
        """Take up what the log says: ballots first, for a certificate may move to vote."""
        self._is_restoring = True
        for one in records:
            if isinstance(one, Header):
                claim = claim_of(one)
                if claim is not None and claim.epoch == self.epoch:
                    self._blocks.add(one, int(claim.view), None).is_logged = True
            elif isinstance(one, Ballot) and self.signatures.is_well_formed(one):
                self._rounds.at(one.view).own.setdefault(one.kind, one)
                self._target = max(self._target, one.view)
        for one in records:
            if isinstance(one, Certificate) and self.signatures.is_certified(one):
                self._adopt(one)
        self._is_restoring = False
        told = [action for action in self._effects if isinstance(action, Convict | Halt)]
        self._effects = [] if self.final is None else [Commit(self.final)]
        self._effects += told
        for voted in self._rounds.own():
            self._restore_votes(voted)
        if self._top is not None and self._top.ballot.view == self._target - 1:
            last = self._rounds.at(self._top.ballot.view)
            if Kind.FINALIZE not in last.certificates:
                self._vote(Kind.FINALIZE, last, self._top.ballot.digest)

    def _restore_votes(self, one: Round) -> None:
        notarized = one.own.get(Kind.NOTARIZE)
        block = None if notarized is None else self._blocks.get(notarized.digest)
        if block is not None:
            block.is_wanted = True
            if self._leader(one.view) == self._me:
                is_first = block.view == one.view
                parent = block.header.parent_hash if is_first else block.header.hash
                one.plan = self._rounds.plan(one.view, parent)
                one.draft = None if one.plan is None else block.header
        if one.view > max(self.final_view, self._target - VIEWS_BEHIND):
            self._effects += [Sign(ballot) for ballot in one.own.values()]

    # ------------------------------------------------------------------------------- events

    def _on_message(self, source: Hashable, message: Message) -> None:
        if isinstance(message, Proposal):
            self._on_proposal(source, message)
        elif isinstance(message, Vote):
            self._on_vote(source, message)
        elif isinstance(message, Certificate):
            self._on_certificate(source, message)
        else:
            self._effects += self._catchup.answer(source, message, self.final)

    def _on_proposal(self, source: Hashable, proposal: Proposal) -> None:
        ballot = proposal.vote.ballot
        if ballot.epoch != self.epoch or self.is_finished:
            return
        found = self._rounds.find(ballot.view)
        held = None if found is None else found.proposal
        if held is not None and held.vote.ballot == ballot:
            return
        is_certified = found is not None and found.certifies(ballot.digest)
        if ballot.view <= self.final_view and not is_certified:
            return
        try:
            check_form(proposal, self.epoch, self._root, self._last_number)
        except OtherSkipsError:
            if not is_certified:
                return
        except BadProposalError as error:
            self._effects.append(Report(source, f"a proposal is malformed: {error}"))
            return
        parent = () if proposal.parent is None else (proposal.parent,)
        if not all(self._is_proven(one) for one in (*parent, *proposal.skips)):
            self._effects.append(Report(source, "a certificate in a proposal proves nothing"))
            return
        for one in (*parent, *proposal.skips):
            self._adopt(one)
        if self.is_halted or not (is_certified or self._is_led(source, proposal)):
            return
        self._catchup.trust(source)
        self._take_proposal(source, proposal, is_certified)

    def _is_proven(self, certificate: Certificate) -> bool:
        """Say whether a certificate is real; one that this node holds needs no look."""
        found = self._rounds.find(certificate.ballot.view)
        held = None if found is None else found.certificates.get(certificate.ballot.kind)
        return held == certificate or self.signatures.is_certified(certificate)

    def _is_led(self, source: Hashable, proposal: Proposal) -> bool:
        """Say whether the leader of its view signed a proposal, and count that vote."""
        vote = proposal.vote
        view = int(vote.ballot.view)
        if view > min(self._target, VIEWS_MAX) or vote.voter != self._leader(view):
            self._effects.append(Report(source, "a proposal is not of its view's leader"))
            return False
        if not self.signatures.is_signed(vote):
            self._effects.append(Report(source, "a proposal is not signed by its leader"))
            return False
        self._hear([vote.voter], view)
        self._count(vote, source)
        return not self.is_halted

    def _take_proposal(self, source: Hashable, proposal: Proposal, is_certified: bool) -> None:
        header = proposal.header
        view = int(proposal.vote.ballot.view)
        one = self._rounds.at(view)
        if one.proposal is not None and not is_certified:
            return  # the leader's second: counted as an offence, not voted on
        one.proposal = proposal
        claim = claim_of(header)
        first_view = int(claim.view) if claim is not None and is_again(proposal) else view
        block = self._blocks.add(header, first_view, source)
        block.is_wanted = block.is_wanted or is_certified or view == self._target
        self._after_header()

    def _after_header(self) -> None:
        """Look anew at what is final, now that a header is known."""
        if self.final is not None and not self._blocks.link():
            self._halt(self._linked or self.final, self.final)
        self._mark_final()

    def _on_vote(self, source: Hashable, vote: Vote) -> None:
        ballot = vote.ballot
        if ballot.epoch != self.epoch:
            return
        if not self.signatures.is_well_formed(ballot) or vote.voter >= len(self._heard):
            self._effects.append(Report(source, "a vote is malformed"))
            return
        view = int(ballot.view)
        if view + 1 < self.view or self.is_finished:
            self._help(source, view)
        if view > self._target + VIEWS_AHEAD or self.is_finished:
            return
        if view < max(self.final_view, self._target) - VIEWS_BEHIND:
            return
        if view > self._heard[vote.voter] and self._is_silent(vote.voter):
            if not self.signatures.is_signed(vote):
                self._effects.append(Report(source, "a vote is forged"))
                return
            self._hear([vote.voter], view)
        if vote.voter == self._me and self.signatures.is_signed(vote):
            self._recall(vote)
        self._count(vote, source)

    def _recall(self, vote: Vote) -> None:
        """Stand by a vote of ours that comes back though the log has lost it."""
        own = self._rounds.at(vote.ballot.view).own
        if vote.ballot.kind not in own:
            own[vote.ballot.kind] = vote.ballot
            self._persist(vote.ballot)

    def _on_certificate(self, source: Hashable, certificate: Certificate) -> None:
        ballot = certificate.ballot
        if ballot.epoch != self.epoch:
            return
        if self.is_finished and ballot.kind != Kind.FINALIZE:
            return
        found = self._rounds.find(ballot.view)
        held = None if found is None else found.certificates.get(ballot.kind)
        if held is not None and held.ballot == ballot:
            return
        if found is None and ballot.view < self.final_view and ballot.kind != Kind.FINALIZE:
            return
        if not self.signatures.is_certified(certificate):
            self._effects.append(Report(source, "a certificate proves nothing"))
            return
        self._catchup.trust(source)
        self._adopt(certificate)

    def _on_timer(self, timer: Timer) -> None:
        if timer.view != self.view or self.is_finished:
            return
        one = self._rounds.at(self.view)
        if timer.kind == TimerKind.RETRY:
            self._retry(one)
        elif timer.kind == TimerKind.ADVANCE or not (one.proposal or Kind.NOTARIZE in one.own):
            self._vote(Kind.NULLIFY, one, NO_DIGEST)

    def _on_built(self, event: Built) -> None:
        header = event.header
        one = self._rounds.find(event.view)
        if header is None or one is None or one.plan is None or event.view != self.view:
            return
        claim = Claim(self.epoch, event.view, skips_hash(one.plan.skips))
        is_right = claim_of(header) == claim and header.parent_hash == one.plan.parent_hash
        if not is_right or header.number > self._last_number:
            self._effects.append(Report(None, "the block that was built is not the one asked for"))
            return
        if Kind.NULLIFY in one.own or Kind.NOTARIZE in one.own:
            return
        block = self._blocks.add(header, event.view, None)
        block.status = Status.VALID
        self._log_header(block)
        one.draft = header
        self._vote(Kind.NOTARIZE, one, header.hash)

    def _on_executed(self, event: Executed) -> None:
        block = self._blocks.get(event.block)
        if block is None or block.status != Status.EXECUTING:
            return
        block.status = Status.VALID if event.is_valid else Status.INVALID
        if event.is_valid:
            self._log_header(block)

    def _on_signed(self, vote: Vote) -> None:
        one = self._rounds.find(vote.ballot.view)
        kind = vote.ballot.kind
        if one is None or vote.voter != self._me or one.own.get(kind) != vote.ballot:
            return
        if kind in one.signed:
            return
        one.signed[kind] = vote
        if kind == Kind.NOTARIZE and one.draft is not None and one.plan is not None:
            one.proposal = Proposal(one.draft, vote, one.plan.parent, one.plan.skips)
            self._effects.append(Broadcast(one.proposal))
        else:
            self._effects.append(Broadcast(vote))
        self._count(vote, None)

    def _on_imported(self, header: Header) -> None:
        if header.number <= self._last_number:
            self._blocks.trust(header)
            self._after_header()

    # -------------------------------------------------------------------- repeating, helping

    def _retry(self, one: Round) -> None:
        """Say again what may have been lost: own votes, and the newest certificates."""
        self._catchup.tick()
        self._effects.append(SetTimer(Timer(self.view, TimerKind.RETRY), self._settings.retry_ms))
        if self._me is None:
            return
        below = None if self._top is None else self._rounds.find(self._top.ballot.view)
        voted = [one] if below is None or below.view <= self.final_view else [below, one]
        for each in voted:
            for kind, ballot in each.own.items():
                if kind not in each.signed:
                    self._effects.append(Sign(ballot))
                elif kind == Kind.NOTARIZE and each.draft is not None and each.proposal is not None:
                    self._effects.append(Broadcast(each.proposal))
                else:
                    self._effects.append(Broadcast(each.signed[kind]))
        self._effects += [Broadcast(certificate) for certificate in self._newest()]

    def _newest(self) -> list[Certificate]:
        """Return the certificates that bring any node to this view."""
        last = self._rounds.find(self.view - 1)
        found: list[Certificate] = []
        for certificate in (self.final, self._top, None if last is None else last.entry):
            if certificate is not None and certificate not in found:
                found.append(certificate)
        return found

    def _help(self, source: Hashable, view: int) -> None:
        """Bring a peer that votes in an old view to this one."""
        newest = [one for one in self._newest() if one.ballot.view >= view]
        if newest and self._catchup.may_answer(source):
            self._effects += [Send(source, certificate) for certificate in newest]
