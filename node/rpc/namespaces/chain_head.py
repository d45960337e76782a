"""chainHead_v1_*: follow the head of the chain and ask about the blocks near it.

    follow -> initialized, then newBlock / bestBlockChanged / finalized ... stop
    body, call, storage -> operation events on the same subscription, after the answer
    storage of descendants -> page, waitingForContinue, continue, page ...

Rules that hold here:
- The parent of every reported block was reported before, or is final.
- A block is reported before it is best, and is best before it is final.
- A block is pinned from its report until it is unpinned; too many pinned final blocks: `stop`.
- What concerns a follow that has ended is answered as if it had nothing: limitReached or null.

Source: https://paritytech.github.io/json-rpc-interface-spec/
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from node.rpc.blocks import Blocks
from node.rpc.errors import (
    BlockNotPinnedError,
    BlockUnavailableError,
    DuplicateHashesError,
    FollowWithoutRuntimeError,
    InvalidParamsError,
    NotWaitingError,
    RuntimeCallError,
    TooManyFollowsError,
)
from node.rpc.follow import Follow, Operation, PinLimitError
from node.rpc.interfaces import RpcNode
from node.rpc.json_values import encoded_header
from node.rpc.methods import method
from node.rpc.parameters import HashOrHashes, HexBytes, Json, SubscriptionId
from node.rpc.session import Session, Subscription
from node.rpc.storage_queries import Query, answer, read_queries
from runtime.codec.hexadecimal import to_hex
from runtime.types.primitives import Hash

FOLLOW_EVENT: Final = "chainHead_v1_followEvent"

Emit = Callable[[str, dict[str, Json]], Awaitable[None]]
"""Sends an event of an operation."""


class ChainHead:
    """All follows of all sessions."""

    def __init__(self, node: RpcNode, blocks: Blocks) -> None:
        self._node = node
        self._blocks = blocks
        self._follows: dict[SubscriptionId, tuple[Follow, Subscription]] = {}

    # --------------------------------------------------------------------------- the follow

    @method("chainHead_v1_follow")
    def follow(self, session: Session, with_runtime: bool) -> Json:
        """Follow the chain: notify its head, then each change."""
        most = session.limits.follows_per_connection
        if session.count_of(FOLLOW_EVENT) >= most:
            raise TooManyFollowsError(
                f"A connection follows the chain at most {most} times. End one first."
            )
        follow = Follow(session, self._node.chain, session.limits, with_runtime=with_runtime)
        return session.subscribe(FOLLOW_EVENT, lambda subscription: self._run(follow, subscription))

    @method("chainHead_v1_unfollow")
    def unfollow(self, session: Session, follow_subscription: SubscriptionId) -> Json:
        """End a follow."""
        session.unsubscribe(follow_subscription, FOLLOW_EVENT)
        return None

    async def _run(self, follow: Follow, subscription: Subscription) -> None:
        self._follows[subscription.id] = follow, subscription
        try:
            async with self._node.chain.events() as events:
                for message in follow.start(self._blocks.version):
                    await subscription.notify(message)
                async for event in events:
                    for message in follow.events_of(event):
                        await subscription.notify(message)
            reason = "the follower lags"
        except PinLimitError as error:
            reason = str(error)
        finally:
            del self._follows[subscription.id]
            for operation in follow.operations.values():
                operation.scope.cancel()
        subscription.session.log_end(subscription, reason)
        await subscription.notify({"event": "stop"})

    # ----------------------------------------------------------------------------- questions

    @method("chainHead_v1_header")
    def header(self, session: Session, follow_subscription: SubscriptionId, hash: Hash) -> Json:
        """Return the header of a pinned block."""
        follow = self._find(session, follow_subscription)
        if follow is None:
            return None
        _check_pinned(follow[0], hash)
        return encoded_header(follow[0].pinned[hash])

    @method("chainHead_v1_body")
    def body(self, session: Session, follow_subscription: SubscriptionId, hash: Hash) -> Json:
        """Start fetching the extrinsics of a pinned block."""

        async def run(operation: Operation, emit: Emit) -> None:
            body = self._node.chain.body(hash)
            if body is None:
                await emit("operationInaccessible", {})
                return
            await emit("operationBodyDone", {"value": [to_hex(raw) for raw in body]})

        return self._start(session, follow_subscription, hash, 1, run)

    @method("chainHead_v1_call")
    def call(
        self,
        session: Session,
        follow_subscription: SubscriptionId,
        hash: Hash,
        function: str,
        call_parameters: HexBytes,
    ) -> Json:
        """Start a call of a runtime API at a pinned block."""
        follow = self._find(session, follow_subscription)
        if follow is not None and not follow[0].with_runtime:
            raise FollowWithoutRuntimeError("Follow with `withRuntime` true to call the runtime.")

        async def run(operation: Operation, emit: Emit) -> None:
            try:
                output = await self._blocks.call(function, call_parameters, hash)
            except BlockUnavailableError:
                await emit("operationInaccessible", {})
            except RuntimeCallError as error:
                await emit("operationError", {"error": error.message})
            else:
                await emit("operationCallDone", {"output": to_hex(output)})

        return self._start(session, follow_subscription, hash, 1, run)

    @method("chainHead_v1_storage")
    def storage(
        self,
        session: Session,
        follow_subscription: SubscriptionId,
        hash: Hash,
        items: list[Json],
        child_trie: Json = None,
    ) -> Json:
        """Start fetching storage items of a pinned block."""
        queries = read_queries(items, child_trie)
        follow = self._find(session, follow_subscription)
        accepted = queries if follow is None else queries[: max(0, follow[0].room())]
        discarded = len(queries) - len(accepted)
        if discarded and not accepted:
            return {"result": "limitReached"}

        async def run(operation: Operation, emit: Emit) -> None:
            await self._fetch(operation, emit, hash, accepted)

        started = self._start(session, follow_subscription, hash, max(1, len(accepted)), run)
        if started["result"] == "started":
            started["discardedItems"] = discarded
        return started

    @method("chainHead_v1_continue")
    def resume(
        self, session: Session, follow_subscription: SubscriptionId, operation_id: str
    ) -> Json:
        """Go on with a storage operation that waits."""
        operation = self._operation(session, follow_subscription, operation_id)
        if operation is not None:
            if operation.resume is None:
                raise NotWaitingError("The operation does not wait for a continue.")
            operation.resume.set()
            operation.resume = None
        return None

    @method("chainHead_v1_stopOperation")
    def stop_operation(
        self, session: Session, follow_subscription: SubscriptionId, operation_id: str
    ) -> Json:
        """Stop an operation."""
        operation = self._operation(session, follow_subscription, operation_id)
        if operation is not None:
            operation.scope.cancel()
        return None

    @method("chainHead_v1_unpin")
    def unpin(
        self,
        session: Session,
        follow_subscription: SubscriptionId,
        hash_or_hashes: HashOrHashes,
    ) -> Json:
        """Unpin one block or several: all of them or, with an error, none."""
        most = session.limits.pinned_blocks
        if len(hash_or_hashes) > most:
            raise InvalidParamsError(f"At most {most} blocks are unpinned at once.")
        follow = self._find(session, follow_subscription)
        if follow is None:
            return None
        if len(set(hash_or_hashes)) != len(hash_or_hashes):
            raise DuplicateHashesError("A hash is listed twice.")
        for block_hash in hash_or_hashes:
            _check_pinned(follow[0], block_hash)
        for block_hash in hash_or_hashes:
            follow[0].unpin(block_hash)
        return None

    # --------------------------------------------------------------------------- operations

    def _find(
        self, session: Session, follow_subscription: SubscriptionId
    ) -> tuple[Follow, Subscription] | None:
        follow = self._follows.get(follow_subscription)
        return follow if follow is not None and follow[0].session is session else None

    def _operation(
        self, session: Session, follow_subscription: SubscriptionId, operation_id: str
    ) -> Operation | None:
        follow = self._find(session, follow_subscription)
        return None if follow is None else follow[0].operations.get(operation_id)

    def _start(
        self,
        session: Session,
        follow_subscription: SubscriptionId,
        block_hash: Hash,
        cost: int,
        run: Callable[[Operation, Emit], Awaitable[None]],
    ) -> dict[str, Json]:
        """Start an operation once its id is answered. Raises BlockNotPinnedError."""
        found = self._find(session, follow_subscription)
        if found is None:
            return {"result": "limitReached"}
        follow, subscription = found
        _check_pinned(follow, block_hash)
        if follow.room() < cost:
            return {"result": "limitReached"}
        operation = follow.begin(cost)

        async def emit(event: str, content: dict[str, Json]) -> None:
            await subscription.notify({"event": event, "operationId": operation.id, **content})

        async def task() -> None:
            try:
                with operation.scope:
                    await run(operation, emit)
            finally:
                follow.operations.pop(operation.id, None)

        session.start_after_answer(task)
        return {"result": "started", "operationId": operation.id}

    async def _fetch(
        self, operation: Operation, emit: Emit, block_hash: Hash, queries: list[Query]
    ) -> None:
        """Send the results of storage queries, waiting for the client between pages."""
        for query in queries:
            rest: Query | None = query
            while rest is not None:
                try:
                    async with self._blocks.turn:
                        page = answer(self._blocks.state(block_hash)[1], rest, self._blocks.code)
                except BlockUnavailableError:
                    await emit("operationInaccessible", {})
                    return
                rest = page.rest
                if page.items:
                    await emit("operationStorageItems", {"items": page.items})
                if rest is not None:
                    operation.resume = resume = trio.Event()
                    await emit("operationWaitingForContinue", {})
                    await resume.wait()
        await emit("operationStorageDone", {})


def _check_pinned(follow: Follow, block_hash: Hash) -> None:
    if block_hash not in follow.pinned:
        raise BlockNotPinnedError(
            f"Block {to_hex(block_hash)} was not reported by this follow, or is unpinned."
        )
