"""The engine of stake-weighted Simplex: one epoch of one node, without I/O.

    event or state               handler                   what is done
    ---------------------------  ------------------------  -----------------------------------------
    Start                        _on_start                 once: restore, enter the view, then the
                                                           messages that came before it
    Received Proposal            _on_proposal              form, certificates and leader are right:
                                                           adopt, record the leader's vote, add the
                                                           block; they are not: Report
    Received Vote                _on_vote                  record it; malformed or forged: Report;
                                                           of an old view: send certificates
    Received Certificate         _on_certificate           proven: adopt it; else Report
    Received CertificateRequest  Catchup.answer            Send certificates and proposals
    TimedOut LEADER (2D)         _on_timer                 no proposal: cast NULLIFY(v)
    TimedOut ADVANCE (3D)        _on_timer                 still in v: cast NULLIFY(v)
    TimedOut RETRY (2D, again)   _on_timer                 still in v: SetTimer again, repeat
    Built                        _on_built                 of this view, no NULLIFY(v): cast
                                                           NOTARIZE(v, block); wrong block: Report
    BlockExecuted                _on_block_executed        valid: log its header
    BlockUnavailable             _on_block_unavailable     still needed: Execute after a pause
    Signed                       _on_signed                the ballot was cast: Broadcast the vote,
                                                           or as leader the Proposal with it
    BlockFinalized               _on_block_finalized       the block is executed and final

    end of each step             _finish_step              enter the next view, if it is higher;
                                                           Execute blocks on executed parents;
                                                           highest certified block valid: Notarized
    new view v                   _enter_view               SetTimer for each kind; leader without
                                                           votes for 10 views: cast NULLIFY(v)
    leader of v                  _propose                  parent executed, skips proven: Propose,
                                                           or cast NOTARIZE(v, boundary) again
    proposal in v                _vote_on_proposal         valid: cast NOTARIZE(v, block); invalid,
                                                           or leader's NULLIFY: cast NULLIFY(v)
    views are missing            Catchup.request           Send to a guide, or Broadcast, a request
    old view of a peer           Catchup.send_newest_certificates
                                                           Send the newest certificates
    view v lasts                 Catchup.repeat            Sign unsigned ballots; Broadcast own
                                                           votes, proposal, newest certificates

    certificate of v             ConsensusState.adopt      Persist; if its turn: Broadcast; v + 1 is
                                                           next; NOTARIZATION(v), v >= view: cast
                                                           FINALIZE(v); FINALIZATION(v): finalize
    FINALIZATION of v > final    ConsensusState._finalize  on the branch of what is final: Commit
    FINALIZATION of a fork       ConsensusState._halt      Persist and Broadcast both, then Halt
    vote of this node            ConsensusState.cast_vote  the rules allow it: Persist, then Sign
    votes are recorded           ConsensusState._act_on    forged vote: Report; quorum: adopt
    conflicting votes            ConsensusState._report_equivocation
                                                           once a voter: ReportEquivocation
    own vote missing in log      ConsensusState.recall_own_vote
                                                           Persist its ballot
    executed block               ConsensusState.log_header
                                                           once: Persist its header
    records of the log           ConsensusState.restore    Commit what is final, Sign the ballots of
                                                           recent views again

A step takes one event; its handler uses the moves below it, each of which has a row of its own.

Rules: nothing is signed before its ballot is durable; NOTARIZE once a view and not after NULLIFY;
NULLIFY not after FINALIZE; FINALIZE not after NULLIFY. A certificate is durable before it is acted
on. All Persists of a step come before its other actions, so the caller may write them in one go.

The engine reacts to events; the state that the rules protect, with every move on it, is
`consensus/state.py`. The engine refuses to know bodies, chain state, clocks and its peers.
tests/consensus/test_transition_table.py compares the table with the code; the table is what makes
this file long. Sources: Chan and Pass,
"Simplex Consensus" (2023), and the variant documented in commonware-consensus.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from consensus.blocks import BlockStatus
from consensus.catchup import Catchup
from consensus.messages import (
    Action,
    BlockExecuted,
    BlockFinalized,
    BlockUnavailable,
    Broadcast,
    Built,
    CertificateRequest,
    Event,
    Execute,
    Notarized,
    Proposal,
    Propose,
    Received,
    Report,
    SetTimer,
    Signed,
    Start,
    TimedOut,
    Timer,
    TimerKind,
)
from consensus.proposals import BadProposalError, OtherSkipsError, check_form, is_again
from consensus.round import VIEWS_AHEAD, VIEWS_BEHIND, Round
from consensus.settings import EngineSettings
from consensus.signatures import Signatures
from consensus.state import ConsensusState
from consensus.step_actions import StepActions
from consensus.write_ahead_log import decode_record
from runtime.shared.finality import (
    NO_DIGEST,
    AuthoritySet,
    Certificate,
    Claim,
    Kind,
    Vote,
    claim_of,
    skips_hash,
)
from runtime.shared.leaders import VIEWS_MAX
from runtime.types.primitives import Hash, Header

EARLY_MESSAGES_MAX: Final = 256
"""Messages that wait for Start."""


class Engine:
    """Consensus on the blocks of one epoch. `me` is an index into the set; None only follows.

    `root` is the boundary block before the epoch (genesis for the first), `last_number` the height
    of the epoch's own boundary block, which is proposed again until it is final. `state` is for
    reading; only the engine moves it.
    """

    def __init__(
        self,
        genesis: Hash,
        authorities: AuthoritySet,
        me: int | None,
        root: Hash,
        last_number: int,
        settings: EngineSettings,
    ) -> None:
        self.settings = settings
        self._actions = StepActions()
        self.state = ConsensusState(
            genesis=genesis,
            authorities=authorities,
            me=me,
            root=root,
            last_number=last_number,
            actions=self._actions,
        )
        self._catchup = Catchup(self.state, self._actions)
        self._best_view = 0
        self._early: list[Received] = []

    @property
    def view(self) -> int:
        """The view that the engine is in; 0 before Start."""
        return self.state.view

    @property
    def signatures(self) -> Signatures:
        """The checks of this epoch's signatures, with what was verified so far."""
        return self.state.signatures

    @property
    def is_halted(self) -> bool:
        """Return whether two branches are final, so that the engine does nothing more."""
        return self.state.is_halted

    @property
    def is_finished(self) -> bool:
        """Return whether the epoch's boundary block is final."""
        return self.state.is_finished

    def step(self, event: Event) -> list[Action]:
        """Take one event and return what to do, in order, Persists first."""
        if self.state.is_halted:
            return []
        if self.state.view > 0 or isinstance(event, Start):
            self._apply(event)
        elif isinstance(event, Received) and len(self._early) < EARLY_MESSAGES_MAX:
            self._early.append(event)
        self._finish_step()
        return self._actions.take()

    def _apply(self, event: Event) -> None:
        match event:
            case Start():
                self._on_start(event)
            case Received(source, Proposal() as proposal):
                self._on_proposal(source, proposal)
            case Received(source, Vote() as vote):
                self._on_vote(source, vote)
            case Received(source, Certificate() as certificate):
                self._on_certificate(source, certificate)
            case Received(source, CertificateRequest() as request):
                self._catchup.answer(source, request)
            case TimedOut(timer):
                self._on_timer(timer)
            case Built():
                self._on_built(event)
            case BlockExecuted():
                self._on_block_executed(event)
            case BlockUnavailable(block):
                self._on_block_unavailable(block)
            case Signed(vote):
                self._on_signed(vote)
            case BlockFinalized(header):
                self._on_block_finalized(header)

    # ------------------------------------------------------------------------------- events

    def _on_start(self, start: Start) -> None:
        if self.state.view > 0:
            return
        self.state.restore([decode_record(record) for record in start.records])
        self._enter_view()
        for received in self._early:
            self._apply(received)
        self._early.clear()

    def _on_vote(self, source: Hashable, vote: Vote) -> None:
        state, ballot = self.state, vote.ballot
        if ballot.epoch != state.epoch:
            return
        if not state.signatures.is_well_formed(ballot) or vote.voter >= state.authority_count:
            self._actions.emit(Report(source, "a vote is malformed"))
            return
        view = int(ballot.view)
        if view + 1 < state.view or state.is_finished:
            self._catchup.send_newest_certificates(source, view)
        if view > state.next_view + VIEWS_AHEAD or state.is_finished:
            return
        if view < max(state.final_view, state.next_view) - VIEWS_BEHIND:
            return
        # The tally verifies a vote when its ballot may have a quorum. A voter that counts as
        # silent is verified at once, or its late votes would leave its view to be skipped.
        if view > state.last_active_view[vote.voter] and state.is_silent(vote.voter):
            if not state.signatures.is_signed(vote):
                self._actions.emit(Report(source, "a vote is forged"))
                return
            state.mark_active([vote.voter], view)
        if vote.voter == state.me and state.signatures.is_signed(vote):
            state.recall_own_vote(vote)
        state.record_vote(vote, source)

    def _on_certificate(self, source: Hashable, certificate: Certificate) -> None:
        state, ballot = self.state, certificate.ballot
        if ballot.epoch != state.epoch:
            return
        if state.is_finished and ballot.kind != Kind.FINALIZE:
            return
        round = state.rounds.find(ballot.view)
        known = None if round is None else round.certificates.get(ballot.kind)
        if known is not None and known.ballot == ballot:
            return
        if round is None and ballot.view < state.final_view and ballot.kind != Kind.FINALIZE:
            return
        if not state.signatures.is_certified(certificate):
            self._actions.emit(Report(source, "a certificate proves nothing"))
            return
        self._catchup.trust(source)
        state.adopt(certificate)

    def _on_timer(self, timer: Timer) -> None:
        if timer.view != self.state.view or self.state.is_finished:
            return
        round = self.state.rounds.at(self.state.view)
        if timer.kind == TimerKind.RETRY:
            self._actions.emit(SetTimer(timer, self.settings.retry_ms))
            self._catchup.repeat(round)
        elif timer.kind == TimerKind.ADVANCE or not (round.proposal or Kind.NOTARIZE in round.own):
            self.state.cast_vote(Kind.NULLIFY, round, NO_DIGEST)

    def _on_built(self, built: Built) -> None:
        state, header = self.state, built.header
        round = state.rounds.find(built.view)
        if header is None or round is None or round.plan is None or built.view != state.view:
            return
        claim = Claim(state.epoch, built.view, skips_hash(round.plan.skips))
        is_right = claim_of(header) == claim and header.parent_hash == round.plan.parent_hash
        if not is_right or header.number > state.last_number:
            self._actions.emit(Report(None, "the block that was built is not the one asked for"))
            return
        if Kind.NULLIFY in round.own or Kind.NOTARIZE in round.own:
            return
        block = state.blocks.add(header, built.view, None)
        block.status = BlockStatus.VALID
        state.log_header(block)
        round.draft = header
        state.cast_vote(Kind.NOTARIZE, round, header.hash)

    def _on_block_executed(self, executed: BlockExecuted) -> None:
        block = self.state.blocks.get(executed.block)
        if block is None or block.status != BlockStatus.EXECUTING:
            return
        block.status = BlockStatus.VALID if executed.is_valid else BlockStatus.INVALID
        if executed.is_valid:
            self.state.log_header(block)

    def _on_block_unavailable(self, digest: Hash) -> None:
        """Have a block tried again while consensus needs it, however long that takes.

        A certified block is needed until it is behind what is final, another one while it may be
        voted on; later it waits until a certificate makes it needed again.
        """
        block = self.state.blocks.get(digest)
        if block is None or block.status != BlockStatus.EXECUTING:
            return
        block.failures += 1
        if self._is_needed(digest):
            pause_ms = self.settings.pause_ms(block.failures)
            self._actions.emit(Execute(block.header, block.source, pause_ms))
        else:
            block.status, block.is_wanted = BlockStatus.WAITING, False

    def _is_needed(self, digest: Hash) -> bool:
        rounds = self.state.rounds
        current = rounds.find(self.state.view)
        proposal = None if current is None else current.proposal
        is_voted_on = proposal is not None and proposal.vote.ballot.digest == digest
        return is_voted_on or rounds.view_of(digest) is not None

    def _on_signed(self, vote: Vote) -> None:
        round = self.state.rounds.find(vote.ballot.view)
        kind = vote.ballot.kind
        if round is None or vote.voter != self.state.me or round.own.get(kind) != vote.ballot:
            return
        if kind in round.signed:
            return
        round.signed[kind] = vote
        if kind == Kind.NOTARIZE and round.draft is not None and round.plan is not None:
            plan = round.plan
            round.proposal = Proposal(round.draft, vote, plan.parent, plan.skips)
            self._actions.emit(Broadcast(round.proposal))
        else:
            self._actions.emit(Broadcast(vote))
        self.state.record_vote(vote, None)

    def _on_block_finalized(self, header: Header) -> None:
        if header.number <= self.state.last_number:
            self.state.blocks.trust(header)
            self.state.update_finality()

    # ---------------------------------------------------------------------------- proposals

    def _on_proposal(self, source: Hashable, proposal: Proposal) -> None:
        state, ballot = self.state, proposal.vote.ballot
        if ballot.epoch != state.epoch or state.is_finished:
            return
        round = state.rounds.find(ballot.view)
        known = None if round is None else round.proposal
        if known is not None and known.vote.ballot == ballot:
            return
        is_certified = round is not None and round.certifies(ballot.digest)
        if ballot.view <= state.final_view and not is_certified:
            return
        try:
            check_form(proposal, state.epoch, state.root, state.last_number)
        except OtherSkipsError:
            if not is_certified:
                return
        except BadProposalError as error:
            self._actions.emit(Report(source, f"a proposal is malformed: {error}"))
            return
        parent = () if proposal.parent is None else (proposal.parent,)
        certificates = (*parent, *proposal.skips)
        if not all(state.is_proven(certificate) for certificate in certificates):
            self._actions.emit(Report(source, "a certificate in a proposal proves nothing"))
            return
        for certificate in certificates:
            state.adopt(certificate)
        if state.is_halted or not (is_certified or self._is_led(source, proposal)):
            return
        self._catchup.trust(source)
        self._add_proposal(source, proposal, is_certified)

    def _is_led(self, source: Hashable, proposal: Proposal) -> bool:
        """Return whether the leader of its view signed a proposal, and record that vote."""
        state, vote = self.state, proposal.vote
        view = int(vote.ballot.view)
        if view > min(state.next_view, VIEWS_MAX) or vote.voter != state.leader_of(view):
            self._actions.emit(Report(source, "a proposal is not of its view's leader"))
            return False
        if not state.signatures.is_signed(vote):
            self._actions.emit(Report(source, "a proposal is not signed by its leader"))
            return False
        state.mark_active([vote.voter], view)
        state.record_vote(vote, source)
        return not state.is_halted

    def _add_proposal(self, source: Hashable, proposal: Proposal, is_certified: bool) -> None:
        state, header = self.state, proposal.header
        view = int(proposal.vote.ballot.view)
        round = state.rounds.at(view)
        if round.proposal is not None and not is_certified:
            return  # the leader's second: recorded as an equivocation, not voted on
        round.proposal = proposal
        claim = claim_of(header)
        first_view = int(claim.view) if claim is not None and is_again(proposal) else view
        block = state.blocks.add(header, first_view, source)
        block.is_wanted = block.is_wanted or is_certified or view == state.next_view
        state.update_finality()

    # ------------------------------------------------------------------------- end of a step

    def _finish_step(self) -> None:
        """Enter the next view, execute, propose, vote, and request what is missing.

        This is done once, after the event, because one event may adopt certificates of many views.
        """
        state = self.state
        if state.is_halted or state.view == 0:
            return
        if state.next_view > state.view and not state.is_finished:
            self._enter_view()
        for block in state.blocks.ready():
            self._actions.emit(Execute(block.header, block.source))
        highest = state.highest_certificate
        is_new = highest is not None and highest.ballot.view > self._best_view
        if highest is not None and is_new and state.blocks.is_valid(highest.ballot.digest):
            self._best_view = int(highest.ballot.view)
            self._actions.emit(Notarized(highest))
        if not state.is_finished:
            round = state.rounds.at(state.view)
            if state.leader_of(state.view) == state.me:
                self._propose(round)
            self._vote_on_proposal(round)
        self._catchup.request_missing()

    def _enter_view(self) -> None:
        state = self.state
        state.enter_next_view()
        self._catchup.tick()
        timers = [(TimerKind.RETRY, self.settings.retry_ms)]
        if state.me is not None:
            timers.insert(0, (TimerKind.LEADER, self.settings.leader_ms))
            timers.insert(1, (TimerKind.ADVANCE, self.settings.advance_ms))
        for kind, delay_ms in timers:
            self._actions.emit(SetTimer(Timer(state.view, kind), delay_ms))
        if state.is_silent(state.leader_of(state.view)):
            state.cast_vote(Kind.NULLIFY, state.rounds.at(state.view), NO_DIGEST)

    def _propose(self, round: Round) -> None:
        """Propose, once the parent is executed and the skips since are proven."""
        state = self.state
        if round.plan is not None or Kind.NULLIFY in round.own or Kind.NOTARIZE in round.own:
            return
        highest = state.highest_certificate
        parent = state.root if highest is None else highest.ballot.digest
        block = state.blocks.get(parent)
        is_ready = state.blocks.is_valid(parent) or parent == state.blocks.final
        if not is_ready or (block is None and parent != state.root):
            return
        plan = state.rounds.plan(round.view, parent)
        if plan is None:
            parent_view = 0 if highest is None else int(highest.ballot.view)
            self._catchup.request(parent_view + 1, round.view - 1)
            return
        round.plan = plan
        if block is not None and block.header.number == state.last_number:
            round.draft = block.header
            state.cast_vote(Kind.NOTARIZE, round, parent)
            return
        claim = Claim(state.epoch, round.view, skips_hash(plan.skips))
        self._actions.emit(Propose(round.view, parent, claim))

    def _vote_on_proposal(self, round: Round) -> None:
        """Vote on the proposal of the current view as far as the block is known."""
        state = self.state
        leader = state.leader_of(round.view)
        if leader != state.me and round.tally.voted(Kind.NULLIFY, leader):
            state.cast_vote(Kind.NULLIFY, round, NO_DIGEST)
        if round.proposal is None or Kind.NOTARIZE in round.own:
            return
        digest = round.proposal.vote.ballot.digest
        block = state.blocks.get(digest)
        if block is not None and block.status == BlockStatus.INVALID:
            state.cast_vote(Kind.NULLIFY, round, NO_DIGEST)
        elif state.blocks.is_valid(digest) and not state.leaves_final_branch(round.proposal):
            state.cast_vote(Kind.NOTARIZE, round, digest)
