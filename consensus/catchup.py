"""Catching up: requests for missed certificates and headers, their answers, and what is repeated.

Peers that sent something real are guides: a request goes to one of them at a time, to the next one
when the first does not answer. The requests and the answers to each peer are limited until `tick`,
which comes with every view and every retry: no peer can make this node send without end.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from consensus.messages import Broadcast, CertificateRequest, Message, Proposal, Send, Sign
from consensus.round import VIEWS_BEHIND, Round
from consensus.state import ConsensusState
from consensus.step_actions import StepActions
from runtime.shared.finality import Ballot, Certificate, Kind, Vote
from runtime.types.primitives import Hash

REQUEST_VIEWS_MAX: Final = 16
"""Views that one answer is about."""
ANSWERS_MAX: Final = 4
"""Answers to one peer, and requests of this node, between two ticks."""
PEERS_MAX: Final = 1024
"""Peers whose answers are counted; further ones wait for the next tick."""
GUIDES_MAX: Final = 8
LINK_VIEWS_MAX: Final = VIEWS_BEHIND
"""Missed views whose headers are requested to prove a branch; peers remember no more of them."""


class Catchup:
    """Requests and answers about missed views of one epoch."""

    def __init__(self, state: ConsensusState, actions: StepActions) -> None:
        self._state = state
        self._actions = actions
        self._answered: dict[Hashable, int] = {}
        self._requested: dict[tuple[int, int], None] = {}
        self._guides: list[Hashable] = []
        self._turn = 0

    def tick(self) -> None:
        """Begin a new allowance, and turn to the next guide."""
        self._answered.clear()
        self._requested.clear()
        self._turn += 1

    def trust(self, source: Hashable) -> None:
        """Take a peer that sent something new and real as a guide."""
        if source is None or source in self._guides:
            return
        self._guides.append(source)
        del self._guides[:-GUIDES_MAX]

    # ----------------------------------------------------------------------------- requests

    def request(self, first: int, last: int) -> None:
        """Request the certificates of views, once until the next tick."""
        first = max(1, first, last - REQUEST_VIEWS_MAX + 1)
        if first > last or (first, last) in self._requested or len(self._requested) >= ANSWERS_MAX:
            return
        self._requested[first, last] = None
        request = CertificateRequest(self._state.epoch, first, last)
        if not self._guides:
            self._actions.emit(Broadcast(request))
        else:
            self._actions.emit(Send(self._guides[self._turn % len(self._guides)], request))

    def request_missing(self) -> None:
        """Request headers and skips without which this node cannot go on."""
        state = self._state
        if state.highest_certificate is None:
            return
        final, final_view = state.blocks.final, state.final_view
        tip = self._view_to_request(state.highest_certificate.ballot.digest, final)
        if tip is not None:
            self.request(min(final_view + 1, tip), tip)
        gap = None if final_view == 0 else self._view_to_request(final, state.root)
        if gap is not None and final_view - gap <= LINK_VIEWS_MAX:
            self.request(1, gap)

    def _view_to_request(self, digest: Hash, stop: Hash) -> int | None:
        """Return the view of the first unknown block on the way from a digest to `stop`."""
        missing = self._state.blocks.missing(digest, stop)
        return None if missing is None else self._state.rounds.view_of(missing)

    # ------------------------------------------------------------------------------ answers

    def answer(self, source: Hashable, request: CertificateRequest) -> None:
        """Send the known certificates and proposals of the views that a peer requests."""
        if request.epoch != self._state.epoch or request.first > request.last:
            return
        if not self._may_answer(source):
            return
        final = self._state.final
        messages: list[Message] = []
        if final is not None and request.first <= final.ballot.view:
            messages.append(final)
        last = min(request.last, request.first + REQUEST_VIEWS_MAX - 1)
        for view in range(request.first, last + 1):
            round = self._state.rounds.find(view)
            if round is None or round.exit_certificate is None:
                continue
            if round.exit_certificate != final:
                messages.append(round.exit_certificate)
            proposal = self._certified_proposal(round)
            if proposal is not None:
                messages.append(proposal)
        self._actions.emit(*(Send(source, message) for message in messages))

    def send_newest_certificates(self, source: Hashable, view: int) -> None:
        """Bring a peer that votes in an old view to the current one."""
        newest = [
            certificate
            for certificate in self._newest_certificates()
            if certificate.ballot.view >= view
        ]
        if newest and self._may_answer(source):
            self._actions.emit(*(Send(source, certificate) for certificate in newest))

    def _may_answer(self, source: Hashable) -> bool:
        """Count an answer to a peer; False if the peer has used its share."""
        count = self._answered.get(source, 0)
        if count >= ANSWERS_MAX or (count == 0 and len(self._answered) >= PEERS_MAX):
            return False
        self._answered[source] = count + 1
        return True

    def _certified_proposal(self, round: Round) -> Proposal | None:
        """Return the proposal that was certified in a view, rebuilt after a restart.

        A rebuilt one may carry another voter's vote than the leader's: the certificate proves it.
        """
        certificate = round.certificate
        if certificate is None:
            return None
        digest = certificate.ballot.digest
        if round.proposal is not None and round.proposal.vote.ballot.digest == digest:
            return round.proposal
        block = self._state.blocks.get(digest)
        if block is None:
            return None
        is_again = block.view != round.view
        parent_hash = digest if is_again else block.header.parent_hash
        plan = self._state.rounds.plan(round.view, parent_hash)
        if plan is None:
            return None
        voter, signature = certificate.votes[0]
        ballot = Ballot(self._state.epoch, round.view, int(Kind.NOTARIZE), digest)
        return Proposal(block.header, Vote(ballot, voter, signature), plan.parent, plan.skips)

    # ---------------------------------------------------------------------------- repeating

    def repeat(self, round: Round) -> None:
        """Repeat what may have been lost: own votes, and the newest certificates."""
        self.tick()
        state = self._state
        if state.me is None:
            return
        highest = state.highest_certificate
        below = None if highest is None else state.rounds.find(highest.ballot.view)
        if below is not None and below.view > state.final_view:
            self._repeat_votes(below)
        self._repeat_votes(round)
        for certificate in self._newest_certificates():
            self._actions.emit(Broadcast(certificate))

    def _repeat_votes(self, round: Round) -> None:
        for kind, ballot in round.own.items():
            is_proposal = kind == Kind.NOTARIZE and round.draft is not None
            if kind not in round.signed:
                self._actions.emit(Sign(ballot))
            elif is_proposal and round.proposal is not None:
                self._actions.emit(Broadcast(round.proposal))
            else:
                self._actions.emit(Broadcast(round.signed[kind]))

    def _newest_certificates(self) -> list[Certificate]:
        """Return the certificates that bring any node to the current view."""
        state = self._state
        last = state.rounds.find(state.view - 1)
        exit_certificate = None if last is None else last.exit_certificate
        newest: list[Certificate] = []
        for certificate in (state.final, state.highest_certificate, exit_certificate):
            if certificate is not None and certificate not in newest:
                newest.append(certificate)
        return newest
