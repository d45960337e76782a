"""transaction_v1_* and transactionWatch_v1_*: submit, and be told what becomes of it.

    pool status            event
    ready                  validated
    inBlock, retracted     bestChainBlockIncluded with the block, or null
    finalized              finalized
    invalid, usurped       invalid
    dropped, late finality dropped

Source: https://paritytech.github.io/json-rpc-interface-spec/
"""

from __future__ import annotations

from contextlib import AsyncExitStack

import trio

from node.chain.chain import BestChanged
from node.rpc.errors import InvalidParamsError
from node.rpc.interfaces import RpcNode
from node.rpc.methods import method
from node.rpc.parameters import HexBytes, Json, SubscriptionId, read_hash
from node.rpc.session import Session, Subscription
from node.transactions.entry import Status
from node.transactions.errors import AlreadyImportedError, ImmediatelyDroppedError, PoolError

WATCH_EVENT = "transactionWatch_v1_watchEvent"
BROADCAST = "transaction_v1_broadcast"


class Transaction:
    """Transactions on their way."""

    def __init__(self, node: RpcNode) -> None:
        self._node = node

    # ------------------------------------------------------------------------------- watch

    @method("transactionWatch_v1_submitAndWatch")
    def submit_and_watch(self, session: Session, transaction: HexBytes) -> Json:
        """Submit a transaction; a refusal is told as an event."""
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
            await self._tell(subscription, transaction, statuses)

    async def _tell(
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
            case "ready":
                return {"event": "validated"}
            case {"inBlock": str(block)}:
                place = self._place(block, transaction)
                return {"event": "bestChainBlockIncluded", "block": place}
            case {"retracted": _}:
                return {"event": "bestChainBlockIncluded", "block": None}
            case {"finalized": str(block)}:
                return {"event": "finalized", "block": self._place(block, transaction)}
            case "invalid":
                return {"event": "invalid", "error": "The transaction became invalid."}
            case {"usurped": other}:
                return {"event": "invalid", "error": f"The transaction was replaced by {other}."}
            case {"finalityTimeout": _}:
                return {"event": "dropped", "error": "Its block did not become final in time."}
            case "future" | {"broadcast": _}:
                return None
        return {"event": "dropped", "error": "The transaction was dropped from the pool."}

    def _place(self, block: str, transaction: bytes) -> Json:
        body = self._node.chain.body(read_hash(block)) or ()
        return {"hash": block, "index": body.index(transaction) if transaction in body else 0}

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
            self._offer(transaction)
            async for event in events:
                if isinstance(event, BestChanged):
                    self._offer(transaction)
        # A session that lags so far behind the chain is no reason to end a broadcast.
        await trio.sleep_forever()

    def _offer(self, transaction: bytes) -> None:
        try:
            self._node.pool.submit(transaction)
        except PoolError:
            # The interface wants silence: what is refused now may be valid after the next block,
            # and what is included is refused from then on.
            return
