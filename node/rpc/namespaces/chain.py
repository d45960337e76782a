"""chain_*: headers, blocks, and the heads as they come."""

from __future__ import annotations

from typing import Final

from node.chain.events import BestChanged, ChainEvent, FinalChanged, NewBlock
from node.rpc.blocks import Blocks
from node.rpc.errors import InvalidParamsError
from node.rpc.interfaces import RpcNode
from node.rpc.json_values import block_form, header_form
from node.rpc.methods import method
from node.rpc.parameters import Heights, Json, SubscriptionId
from node.rpc.session import LaggingError, Session, Subscription
from runtime.codec.hexadecimal import to_hex
from runtime.types.primitives import Hash, Header

NEW_HEAD: Final = "chain_newHead"
ALL_HEAD: Final = "chain_allHead"
FINALIZED_HEAD: Final = "chain_finalizedHead"
HEIGHTS_MAX: Final = 1_000


class Chain:
    """Blocks of the best chain."""

    def __init__(self, node: RpcNode, blocks: Blocks) -> None:
        self._node = node
        self._blocks = blocks

    @method("chain_getHeader")
    def header(self, hash: Hash | None = None) -> Json:
        """Return a header, null for an unknown block."""
        chain = self._node.chain
        header = chain.best if hash is None else chain.header(hash)
        return None if header is None else header_form(header)

    @method("chain_getBlock")
    def block(self, hash: Hash | None = None) -> Json:
        """Return a block with its justification, null for an unknown block."""
        chain = self._node.chain
        block_hash = chain.best.hash if hash is None else hash
        header, body = chain.header(block_hash), chain.body(block_hash)
        if header is None or body is None:
            return None
        return block_form(header, body, chain.justification(block_hash))

    @method("chain_getBlockHash", "chain_getHead")
    def block_hash(self, hash: Heights | None = None) -> Json:
        """Return the hash of the best block, of a height, or of each height of a list.

        Substrate names the heights `hash`, and so do its clients.
        """
        if hash is None:
            return to_hex(self._node.chain.best.hash)
        if isinstance(hash, list):
            if len(hash) > HEIGHTS_MAX:
                raise InvalidParamsError(f"At most {HEIGHTS_MAX} heights are answered at once.")
            return [self._hash_of(entry) for entry in hash]
        assert isinstance(hash, int), "heights are a number or a list of numbers"
        return self._hash_of(hash)

    def _hash_of(self, number: int) -> Json:
        block_hash = self._node.chain.hash_of(number)
        return None if block_hash is None else to_hex(block_hash)

    @method("chain_getFinalizedHead", "chain_getFinalisedHead")
    def finalized_head(self) -> Json:
        """Return the hash of the last finalized block."""
        return to_hex(self._node.chain.finalized.hash)

    # ------------------------------------------------------------------------ subscriptions

    @method("chain_subscribeNewHeads", "chain_subscribeNewHead", "subscribe_newHead")
    def subscribe_new_heads(self, session: Session) -> Json:
        """Notify the best header, and each that becomes best, whatever branch it is on."""
        return session.subscribe(
            NEW_HEAD, lambda subscription: self._follow(subscription, BestChanged)
        )

    @method("chain_subscribeAllHeads")
    def subscribe_all_heads(self, session: Session) -> Json:
        """Notify the best header, and each that is new, forks as well."""
        return session.subscribe(
            ALL_HEAD, lambda subscription: self._follow(subscription, NewBlock)
        )

    @method("chain_subscribeFinalizedHeads", "chain_subscribeFinalisedHeads")
    def subscribe_finalized_heads(self, session: Session) -> Json:
        """Notify the finalized header, and each that becomes final."""
        return session.subscribe(
            FINALIZED_HEAD, lambda subscription: self._follow(subscription, FinalChanged)
        )

    @method("chain_unsubscribeNewHeads", "chain_unsubscribeNewHead", "unsubscribe_newHead")
    def unsubscribe_new_heads(self, session: Session, subscription: SubscriptionId) -> Json:
        """End a subscription."""
        return session.unsubscribe(subscription, NEW_HEAD)

    @method("chain_unsubscribeAllHeads")
    def unsubscribe_all_heads(self, session: Session, subscription: SubscriptionId) -> Json:
        """End a subscription."""
        return session.unsubscribe(subscription, ALL_HEAD)

    @method("chain_unsubscribeFinalizedHeads", "chain_unsubscribeFinalisedHeads")
    def unsubscribe_finalized_heads(self, session: Session, subscription: SubscriptionId) -> Json:
        """End a subscription."""
        return session.unsubscribe(subscription, FINALIZED_HEAD)

    async def _follow(self, subscription: Subscription, wanted: type[ChainEvent]) -> None:
        chain = self._node.chain
        async with chain.events() as events:
            head: Header = chain.finalized if wanted is FinalChanged else chain.best
            await subscription.notify(header_form(head))
            async for event in events:
                if isinstance(event, wanted):
                    await subscription.notify(header_form(event.header))
        raise LaggingError(subscription.event)
