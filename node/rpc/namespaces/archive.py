"""archive_v1_*: blocks and states of the past, by height and hash.

Source: https://paritytech.github.io/json-rpc-interface-spec/
"""

from __future__ import annotations

from typing import Final

from node.rpc.blocks import Blocks
from node.rpc.errors import BlockUnavailableError, RpcError, RuntimeCallError
from node.rpc.interfaces import RpcNode
from node.rpc.json_values import encoded_header
from node.rpc.methods import method
from node.rpc.parameters import HexBytes, Json, SubscriptionId
from node.rpc.session import Session, Subscription
from node.rpc.storage_diff import (
    PAGE_ITEMS_MAX,
    DiffQuery,
    change_json,
    page_of_changes,
    read_diff_queries,
    walks_of,
)
from node.rpc.storage_queries import Query, answer, read_queries
from runtime.codec.hexadecimal import to_hex
from runtime.types.primitives import Hash, Header

STORAGE_EVENT: Final = "archive_v1_storageEvent"
STORAGE_DIFF_EVENT: Final = "archive_v1_storageDiffEvent"


class Archive:
    """The past."""

    def __init__(self, node: RpcNode, blocks: Blocks) -> None:
        self._node = node
        self._blocks = blocks

    @method("archive_v1_genesisHash")
    def genesis_hash(self) -> Json:
        """Return the genesis hash."""
        return to_hex(self._node.chain.genesis_hash)

    @method("archive_v1_finalizedHeight")
    def finalized_height(self) -> Json:
        """Return the height of the last finalized block."""
        return self._node.chain.finalized.number

    @method("archive_v1_hashByHeight")
    def hash_by_height(self, height: int) -> Json:
        """Return the hashes of the blocks at a height, of all branches above the final block."""
        return [to_hex(block_hash) for block_hash in self._node.chain.hashes_at(height)]

    @method("archive_v1_header")
    def header(self, hash: Hash) -> Json:
        """Return the encoded header of a block, null for an unknown one."""
        header = self._node.chain.header(hash)
        return None if header is None else encoded_header(header)

    @method("archive_v1_body")
    def body(self, hash: Hash) -> Json:
        """Return the extrinsics of a block, null for an unknown one."""
        body = self._node.chain.body(hash)
        return None if body is None else [to_hex(raw) for raw in body]

    @method("archive_v1_call")
    async def call(self, hash: Hash, function: str, call_parameters: HexBytes) -> Json:
        """Call a runtime API at a block."""
        if self._node.chain.header(hash) is None:
            return None
        try:
            value = await self._blocks.call(function, call_parameters, hash)
        except (BlockUnavailableError, RuntimeCallError) as error:
            return {"success": False, "error": error.message}
        return {"success": True, "value": to_hex(value)}

    @method("archive_v1_storage")
    def storage(
        self,
        session: Session,
        hash: Hash,
        items: list[Json],
        child_trie: Json = None,
    ) -> Json:
        """Send the storage items of a block."""
        queries = read_queries(items, child_trie)
        return session.subscribe(
            STORAGE_EVENT, lambda subscription: self._notify_items(subscription, hash, queries)
        )

    @method("archive_v1_stopStorage")
    def stop_storage(self, session: Session, subscription: SubscriptionId) -> Json:
        """Stop sending storage items."""
        session.unsubscribe(subscription, STORAGE_EVENT)
        return None

    @method("archive_v1_storageDiff")
    def storage_diff(
        self,
        session: Session,
        hash: Hash,
        items: list[Json] | None = None,
        previous_hash: Hash | None = None,
    ) -> Json:
        """Send how storage differs from an earlier block, by default from the parent."""
        queries = read_diff_queries(items)
        return session.subscribe(
            STORAGE_DIFF_EVENT,
            lambda subscription: self._notify_changes(subscription, hash, previous_hash, queries),
        )

    @method("archive_v1_stopStorageDiff")
    def stop_storage_diff(self, session: Session, subscription: SubscriptionId) -> Json:
        """Stop sending storage differences."""
        session.unsubscribe(subscription, STORAGE_DIFF_EVENT)
        return None

    async def _notify_items(
        self, subscription: Subscription, block_hash: Hash, queries: list[Query]
    ) -> None:
        try:
            for query in queries:
                rest: Query | None = query
                while rest is not None:
                    async with self._blocks.turn:
                        page = answer(self._blocks.state(block_hash)[1], rest, self._blocks.code)
                    rest = page.rest
                    for item in page.items:
                        await subscription.notify({"event": "storage", **item})
        except RpcError as error:
            await subscription.notify({"event": "storageError", "error": error.message})
        else:
            await subscription.notify({"event": "storageDone"})

    async def _notify_changes(
        self,
        subscription: Subscription,
        block_hash: Hash,
        previous_hash: Hash | None,
        queries: list[DiffQuery],
    ) -> None:
        try:
            previous = self._ancestor(block_hash, previous_hash)
            for walk in walks_of(queries):
                start: bytes | None = None
                is_whole = False
                while not is_whole:
                    # Fetched for each page: the state of a final block moves with its successors.
                    async with self._blocks.turn:
                        before, after = (self._blocks.state(at)[1] for at in (previous, block_hash))
                        page = page_of_changes(before, after, walk.prefix, start)
                    is_whole = len(page) < PAGE_ITEMS_MAX
                    for change in page:
                        start = change.key
                        await subscription.notify(change_json(change, walk))
        except RpcError as error:
            await subscription.notify({"event": "storageDiffError", "error": error.message})
        else:
            await subscription.notify({"event": "storageDiffDone"})

    def _ancestor(self, block_hash: Hash, previous_hash: Hash | None) -> Hash:
        """Return the block to compare with. Raises BlockUnavailableError."""
        header = self._blocks.header(block_hash)
        if previous_hash is None:
            if header.number == 0:
                raise BlockUnavailableError("The first block has no parent to compare with.")
            return header.parent_hash
        previous = self._blocks.header(previous_hash)
        if not self._descends(header, previous):
            raise BlockUnavailableError(
                f"Block {to_hex(previous_hash)} is no ancestor of {to_hex(block_hash)}."
            )
        return previous_hash

    def _descends(self, header: Header, ancestor: Header) -> bool:
        chain = self._node.chain
        at: Header | None = header
        while at is not None and at.number > ancestor.number:
            if at.number <= chain.finalized.number:
                # Below the final block there is one branch, which the heights name.
                return chain.hash_of(ancestor.number) == ancestor.hash
            if at.parent_hash == ancestor.hash:
                return True
            at = chain.header(at.parent_hash)
        return False
