"""Who asks whom for certificates and headers that were missed, and how much is answered.

Peers that sent something real are guides: questions go to one of them at a time, to the next one
when the first does not answer. What is sent to a peer, and what is asked, is limited until `tick`,
which comes with every view and every retry: a peer cannot make this node talk without end.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from consensus.blocks import Blocks
from consensus.messages import Action, Ask, Broadcast, Message, Proposal, Send
from consensus.round import Round, Rounds
from runtime.shared.finality import Ballot, Certificate, Kind, Vote
from runtime.types.primitives import Hash

ASK_VIEWS_MAX: Final = 16
"""Views that one answer is about."""
ANSWERS_MAX: Final = 4
"""Answers to one peer, and questions of ours, between two ticks."""
PEERS_MAX: Final = 1024
"""Peers whose answers are counted; further ones wait for the next tick."""
GUIDES_MAX: Final = 8


class Catchup:
    """Questions and answers about missed views."""

    def __init__(self, epoch: int, rounds: Rounds, blocks: Blocks) -> None:
        self._epoch = epoch
        self._rounds = rounds
        self._blocks = blocks
        self._answered: dict[Hashable, int] = {}
        self._asked: dict[tuple[int, int], None] = {}
        self._guides: list[Hashable] = []
        self._turn = 0

    def tick(self) -> None:
        """Begin a new allowance, and turn to the next guide."""
        self._answered.clear()
        self._asked.clear()
        self._turn += 1

    def trust(self, source: Hashable) -> None:
        """Take a peer that sent something new and real as a guide."""
        if source is None or source in self._guides:
            return
        self._guides.append(source)
        del self._guides[:-GUIDES_MAX]

    def may_answer(self, source: Hashable) -> bool:
        """Count an answer to a peer; False where it had its share."""
        count = self._answered.get(source, 0)
        if count >= ANSWERS_MAX or (count == 0 and len(self._answered) >= PEERS_MAX):
            return False
        self._answered[source] = count + 1
        return True

    def ask(self, first: int, last: int) -> list[Action]:
        """Ask for views, once until the next tick."""
        first = max(1, first, last - ASK_VIEWS_MAX + 1)
        if first > last or (first, last) in self._asked or len(self._asked) >= ANSWERS_MAX:
            return []
        self._asked[first, last] = None
        question = Ask(self._epoch, first, last)
        if not self._guides:
            return [Broadcast(question)]
        return [Send(self._guides[self._turn % len(self._guides)], question)]

    def answer(self, source: Hashable, ask: Ask, final: Certificate | None) -> list[Action]:
        """Send what is known of the views that a peer asks for."""
        if ask.epoch != self._epoch or ask.first > ask.last or not self.may_answer(source):
            return []
        messages: list[Message] = []
        if final is not None and ask.first <= final.ballot.view:
            messages.append(final)
        for view in range(ask.first, min(ask.last, ask.first + ASK_VIEWS_MAX - 1) + 1):
            found = self._rounds.find(view)
            if found is None or found.entry is None:
                continue
            if found.entry != final:
                messages.append(found.entry)
            proposal = self._proposal_of(found)
            if proposal is not None:
                messages.append(proposal)
        return [Send(source, message) for message in messages]

    def _proposal_of(self, found: Round) -> Proposal | None:
        """Return the proposal that was certified in a view, put together anew after a restart.

        Then its vote may be another voter's than the leader's: the certificate speaks for it.
        """
        support = found.support
        if support is None:
            return None
        digest = support.ballot.digest
        if found.proposal is not None and found.proposal.vote.ballot.digest == digest:
            return found.proposal
        block = self._blocks.get(digest)
        if block is None:
            return None
        is_again = block.view != found.view
        plan = self._rounds.plan(found.view, digest if is_again else block.header.parent_hash)
        if plan is None:
            return None
        voter, signature = support.votes[0]
        ballot = Ballot(self._epoch, found.view, int(Kind.NOTARIZE), digest)
        return Proposal(block.header, Vote(ballot, voter, signature), plan.parent, plan.skips)

    def view_to_ask(self, digest: Hash, stop: Hash) -> int | None:
        """Return the view of the first unknown block on the way from a digest to `stop`."""
        missing = self._blocks.missing(digest, stop)
        return None if missing is None else self._rounds.view_of(missing)
