"""The bodies of proposed blocks: those that came with their proposals, and those that are pulled.

A leader signs a header and not its body, so a body is believed only by the header's extrinsics
root: any peer may relay a proposal with another one. A peer that gives a wrong body is penalized,
and the next one is asked; who is silent delays nothing, because others are asked meanwhile.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import trio

from node.chain.chain import Chain
from p2p.protocols.reputation import Fault
from p2p.protocols.sync_messages import WrongAnswerError, check_body
from p2p.service.peer_network import PeerRequests
from p2p.transport.transport import PeerId, TransportError
from p2p.transport.wire import RequestKind
from runtime.codec.scale import DecodeError, codec
from runtime.types.primitives import Hash, Header

BODIES_MAX: Final = 64
"""Bodies that came with their proposals and await execution."""
PEERS_MAX: Final = 4
"""Peers that are asked for one body."""
HEAD_START_SECONDS: Final = 0.5
"""How long one peer is asked, before the next one is asked as well."""

Body = tuple[bytes, ...]

logger = logging.getLogger(__name__)
_body = codec(Body)


class BodyUnavailableError(TransportError):
    """No peer gave the body of a block."""


class ProposedBodies:
    """Brings the body of a proposed block."""

    def __init__(self, chain: Chain, network: PeerRequests) -> None:
        self._chain = chain
        self._network = network
        self._sent: OrderedDict[Hash, tuple[PeerId, Body]] = OrderedDict()
        self._turn = 0

    def add_body(self, block: Hash, giver: PeerId, body: Body) -> None:
        """Keep a body that came with a proposal; it replaces none, for neither was looked at."""
        self._sent.setdefault(block, (giver, body))
        if len(self._sent) > BODIES_MAX:
            self._sent.popitem(last=False)

    async def obtain(self, header: Header, peer: PeerId | None) -> Body:
        """Return a block's body, asking `peer` first. Raises BodyUnavailableError."""
        body = self._chain.body(header.hash)
        if body is None:
            body = await self._take_sent(header)
        if body is None:
            body = await self._pull(header, self._candidates(peer))
        return body

    def _candidates(self, first: PeerId | None) -> list[PeerId]:
        """Return the peers to ask; those after the first take turns, so that each is asked."""
        others = sorted(other.peer for other in self._network.peers() if other.peer != first)
        turn = self._turn % len(others) if others else 0
        self._turn += PEERS_MAX - (first is not None)
        others = [*others[turn:], *others[:turn]]
        return (others if first is None else [first, *others])[:PEERS_MAX]

    async def _take_sent(self, header: Header) -> Body | None:
        """Return the body that came with a proposal, if it is the block's."""
        giver, body = self._sent.pop(header.hash, (None, ()))
        if giver is None or not await self._is_right(header, giver, body):
            return None
        return body

    async def _pull(self, header: Header, asked: Sequence[PeerId]) -> Body:
        answers: list[Body] = []
        async with trio.open_nursery() as nursery:
            for candidate in asked:
                nursery.start_soon(self._ask, header, candidate, answers, nursery.cancel_scope)
                await trio.sleep(HEAD_START_SECONDS)
                sent = await self._take_sent(header)  # it may have come meanwhile
                if sent is not None:
                    answers.append(sent)
                    nursery.cancel_scope.cancel()
        if not answers:
            raise BodyUnavailableError(
                f"The body of block 0x{header.hash.hex()} could not be had of {len(asked)} peers; "
                "this node does not vote for it."
            )
        return answers[0]

    async def _ask(
        self, header: Header, peer: PeerId, answers: list[Body], asking: trio.CancelScope
    ) -> None:
        """Ask one peer; the first answer ends the asking."""
        try:
            body = _body.decode(await self._network.request(peer, RequestKind.BODY, header.hash))
        except TransportError as error:
            logger.debug("body-not-answered peer=%s cause=%r", peer, str(error))
        except DecodeError as error:
            self._network.penalize(peer, Fault.BAD_ANSWER, f"a body cannot be read: {error}")
        else:
            if await self._is_right(header, peer, body):
                answers.append(body)
                asking.cancel()

    async def _is_right(self, header: Header, giver: PeerId, body: Body) -> bool:
        try:
            await trio.to_thread.run_sync(check_body, header, body)
        except WrongAnswerError as error:
            self._network.penalize(giver, Fault.BAD_ANSWER, str(error))
            return False
        return True
