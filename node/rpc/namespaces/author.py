"""author_*: submission of transactions, and the node's own keys for callers on its machine."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final

import trio

from node.rpc.errors import (
    InvalidParamsError,
    KeyRejectedError,
    MethodNotFoundError,
)
from node.rpc.interfaces import Keys, RpcNode
from node.rpc.methods import method
from node.rpc.parameters import HexBytes, Json, SubscriptionId, read_bytes, read_hash
from node.rpc.session import Session, Subscription
from node.rpc.transaction_status import rejection, status_json
from node.transactions.errors import PoolError
from node.transactions.status import InBlock, InFinalBlock, Status
from runtime.codec.hexadecimal import to_hex
from runtime.crypto.hashing import blake2b_256
from runtime.types.primitives import Hash

EXTRINSIC_UPDATE: Final = "author_extrinsicUpdate"
REMOVED_MAX: Final = 1_000
QUIET_SECONDS: Final = 0.2
QUIET_SECONDS_MAX: Final = 1.0


class Author:
    """The pool, and the keys of the node."""

    def __init__(self, node: RpcNode) -> None:
        self._node = node

    # ------------------------------------------------------------------------- transactions

    @method("author_submitExtrinsic")
    async def submit(self, extrinsic: HexBytes) -> Json:
        """Put a transaction into the pool; returns its hash."""
        try:
            return to_hex(await self._node.pool.submit_untrusted(extrinsic))
        except PoolError as error:
            raise rejection(error) from error

    @method("author_submitAndWatchExtrinsic")
    async def submit_and_watch(self, session: Session, bytes: HexBytes) -> Json:
        """Put a transaction into the pool and notify its statuses."""
        return await watch(session, self._node, bytes)

    @method("author_unwatchExtrinsic")
    def unwatch(self, session: Session, subscription: SubscriptionId) -> Json:
        """End a watch; the transaction stays in the pool."""
        return session.unsubscribe(subscription, EXTRINSIC_UPDATE)

    @method("author_pendingExtrinsics")
    def pending(self) -> Json:
        """List the transactions in the pool."""
        return [to_hex(raw) for raw in self._node.pool.pending()]

    @method("author_removeExtrinsic", local=True)
    def remove(self, bytes_or_hash: list[Json]) -> Json:
        """Remove transactions from the pool by {"hash"} or {"extrinsic"}; returns their hashes."""
        if len(bytes_or_hash) > REMOVED_MAX:
            raise InvalidParamsError(f"At most {REMOVED_MAX} transactions are removed at once.")
        hashes = [_hash_of(entry) for entry in bytes_or_hash]
        return [
            to_hex(transaction) for transaction in hashes if self._node.pool.remove(transaction)
        ]

    # --------------------------------------------------------------------------------- keys

    @method("author_hasKey", local=True)
    def has_key(self, public_key: HexBytes, key_type: str) -> Json:
        """Return whether the node has the secret key of a public one."""
        try:
            return self._keys().has(public_key, key_type)
        except ValueError as error:
            raise KeyRejectedError(str(error)) from error

    @method("author_insertKey", local=True)
    def insert_key(self, key_type: str, suri: str, public: HexBytes) -> Json:
        """Give the node a secret key, as a secret URI with its public key."""
        try:
            self._keys().insert(key_type, suri, public)
        except ValueError as error:
            raise KeyRejectedError(str(error)) from error
        return None

    @method("author_rotateKeys", local=True)
    def rotate_keys(self) -> Json:
        """Make new session keys; returns the public ones."""
        try:
            return to_hex(self._keys().rotate())
        except ValueError as error:
            raise KeyRejectedError(str(error)) from error

    def _keys(self) -> Keys:
        keys = self._node.keys
        if keys is None:
            raise MethodNotFoundError("This node keeps no keys of its own.")
        return keys


async def watch(session: Session, node: RpcNode, extrinsic: bytes) -> SubscriptionId:
    """Submit and subscribe to the statuses. Raises RpcError before anything is submitted."""
    session.require_stream()
    stack = AsyncExitStack()
    try:
        # Entered here and not in the subscription's task: a refusal is the answer to this call.
        statuses = await stack.enter_async_context(node.pool.watch(extrinsic))
    except PoolError as error:
        raise rejection(error) from error

    async def notify(subscription: Subscription) -> None:
        async with stack:
            await _notify_statuses(subscription, statuses)

    try:
        return session.subscribe(EXTRINSIC_UPDATE, notify)
    except BaseException:
        await stack.aclose()
        raise


async def _notify_statuses(
    subscription: Subscription, statuses: trio.MemoryReceiveChannel[Status]
) -> None:
    included_at: float | None = None
    async for status in statuses:
        if included_at is not None and isinstance(status, InFinalBlock):
            await _pause(subscription.session, included_at)
        await subscription.notify(status_json(status))
        if isinstance(status, InBlock):
            included_at = trio.current_time()


async def _pause(session: Session, included_at: float) -> None:
    """Let the client look up the block of `inBlock` before it gets `finalized`.

    polkadot.js gives up the look-up when the next status comes, so where finality is instant its
    users would never see inBlock. The pause lasts until the client has been quiet for a moment.
    """
    while True:
        quiet_from = min(
            max(included_at, session.heard_at) + QUIET_SECONDS, included_at + QUIET_SECONDS_MAX
        )
        if quiet_from <= trio.current_time():
            return
        await trio.sleep_until(quiet_from)


def _hash_of(entry: Json) -> Hash:
    if isinstance(entry, dict) and "hash" in entry:
        return read_hash(entry["hash"])
    if isinstance(entry, dict) and "extrinsic" in entry:
        return Hash(blake2b_256(read_bytes(entry["extrinsic"])))
    raise InvalidParamsError('Name each transaction as {"hash": "0x.."} or {"extrinsic": "0x.."}.')
