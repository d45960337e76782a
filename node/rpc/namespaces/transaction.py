"""transaction_v1_* and transactionWatch_v1_*: submit transactions and follow their statuses.

    status of the pool         event
    Ready                      validated
    InBlock, Retracted         bestChainBlockIncluded with the block, or null
    InFinalBlock               finalized
    Invalidated, Usurped       invalid
    Dropped, FinalityTimeout   dropped

Source: https://paritytech.github.io/json-rpc-interface-spec/
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final

import trio

from node.chain.events import BestChanged
from node.rpc.errors import InvalidParamsError
from node.rpc.interfaces import RpcNode
from node.rpc.methods import method
from node.rpc.parameters import HexBytes, Json, SubscriptionId
from node.rpc.session import Session, Subscription
from node.transactions.errors import AlreadyImportedError, ImmediatelyDroppedError, PoolError
from node.transactions.status import (
    Dropped,
    FinalityTimeout,
    InBlock,
    InFinalBlock,
    Invalidated,
    NotReady,
    Ready,
    Retracted,
    Status,
    Usurped,
)
from runtime.codec.hexadecimal import to_hex
from runtime.types.primitives import Hash

WATCH_EVENT: Final = "transactionWatch_v1_watchEvent"
BROADCAST: Final = "transaction_v1_broadcast"


class Transaction:
    """Transactions on their way."""

    def __init__(self, node: RpcNode) -> None:
        self._node = node

    # ------------------------------------------------------------------------------- watch

    @method("transactionWatch_v1_submitAndWatch")
    def submit_and_watch(self, session: Session, transaction: HexBytes) -> Json:
        """Submit a transaction; a refusal is notified as an event."""
        return session.subscribe(
            WATCH_EVENT, lambda subscription: self._watch(subscription, transaction)
        )

    @method("transactionWatch_v1_unwatch")
    def unwatch(self, session: Session, subscription: SubscriptionId) -> Json:
        """End a watch; the transaction stays in the pool."""
        if not session.unsubscribe(subscription, WATCH_EVENT):
            raise InvalidParamsError("There is no such watch.")
        return None

    async def _watch(self, subscription: Subscription, transaction: bytes) -> None:
        async with AsyncExitStack() as stack:
            try:
                watch = self._node.pool.watch(transaction)
                statuses = await stack.enter_async_context(watch)
            except ImmediatelyDroppedError as error:
                await subscription.notify({"event": "dropped", "error": str(error)})
                return
            except AlreadyImportedError as error:
                await subscription.notify({"event": "error", "error": str(error)})
                return
            except PoolError as error:
                await subscription.notify({"event": "invalid", "error": str(error)})
                return
            await self._notify_statuses(subscription, transaction, statuses)

    async def _notify_statuses(
        self,
        subscription: Subscription,
        transaction: bytes,
        statuses: trio.MemoryReceiveChannel[Status],
    ) -> None:
        async for status in statuses:
            event = self._event_of(status, transaction)
            if event is not None:
                await subscription.notify(event)
                if event["event"] in ("finalized", "invalid", "dropped"):
                    return
        await subscription.notify({"event": "dropped", "error": "The watch fell behind."})

    def _event_of(self, status: Status, transaction: bytes) -> dict[str, Json] | None:
        match status:
            case Ready():
                return {"event": "validated"}
            case InBlock(block):
                place = self._place(block, transaction)
                return {"event": "bestChainBlockIncluded", "block": place}
            case Retracted():
                return {"event": "bestChainBlockIncluded", "block": None}
            case InFinalBlock(block):
                return {"event": "finalized", "block": self._place(block, transaction)}
            case Invalidated():
                return {"event": "invalid", "error": "The transaction became invalid."}
            case Usurped(other):
                sentence = f"The transaction was replaced by {to_hex(other)}."
                return {"event": "invalid", "error": sentence}
            case FinalityTimeout():
                return {"event": "dropped", "error": "Its block did not become final in time."}
            case NotReady():
                return None
            case Dropped():
                pass
        return {"event": "dropped", "error": "The transaction was dropped from the pool."}

    def _place(self, block: Hash, transaction: bytes) -> Json:
        body = self._node.chain.body(block) or ()
        index = body.index(transaction) if transaction in body else 0
        return {"hash": to_hex(block), "index": index}

    # --------------------------------------------------------------------------- broadcast

    @method("transaction_v1_broadcast")
    def broadcast(self, session: Session, transaction: HexBytes) -> Json:
        """Offer a transaction to the network until told to stop; null when too many are."""
        if session.count_of(BROADCAST) >= session.limits.broadcasts_per_connection:
            return None
        return session.subscribe(
            BROADCAST, lambda subscription: self._broadcast(subscription, transaction)
        )

    @method("transaction_v1_stop")
    def stop(self, session: Session, operation_id: SubscriptionId) -> Json:
        """Stop offering a transaction."""
        if not session.unsubscribe(operation_id, BROADCAST):
            raise InvalidParamsError("There is no such broadcast.")
        return None

    async def _broadcast(self, subscription: Subscription, transaction: bytes) -> None:
        async with self._node.chain.events() as events:
            await self._offer(transaction)
            async for event in events:
                if isinstance(event, BestChanged):
                    await self._offer(transaction)
        # A session that lags so far behind the chain is no reason to end a broadcast.
        await trio.sleep_forever()

    async def _offer(self, transaction: bytes) -> None:
        try:
            await self._node.pool.submit_untrusted(transaction)
        except PoolError:
            # The interface wants silence: what is refused now may be valid after the next block,
            # and what is included is refused from then on.
            return
