"""state_*: storage, proofs, runtime calls and versions at a named block."""

from __future__ import annotations

from itertools import islice
from typing import Final

from node.chain.events import BestChanged
from node.rpc.blocks import Blocks
from node.rpc.errors import (
    BlockRangeError,
    CountTooBigError,
    InvalidParamsError,
    RuntimeCallError,
)
from node.rpc.interfaces import RpcNode
from node.rpc.json_values import version_form
from node.rpc.limits import Limits
from node.rpc.methods import method
from node.rpc.parameters import REQUIRED, HexBytes, Json, SubscriptionId
from node.rpc.session import LaggingError, Session, Subscription
from runtime.codec.hexadecimal import to_hex
from runtime.crypto.hashing import blake2b_256
from runtime.trie.backend import Backend
from runtime.trie.proof import ProofError, prove
from runtime.types.primitives import Hash

STORAGE: Final = "state_storage"
RUNTIME_VERSION: Final = "state_runtimeVersion"


class State:
    """Storage and the runtime."""

    def __init__(self, node: RpcNode, blocks: Blocks, limits: Limits) -> None:
        self._node = node
        self._blocks = blocks
        self._keys_per_page = limits.keys_per_page
        self._keys_per_query = limits.keys_per_query
        self._keys_listed = limits.keys_listed
        self._span = limits.blocks_per_query
        self._values_per_query = limits.values_per_query
        self._keys_per_turn = limits.keys_per_turn

    # ------------------------------------------------------------------------------ runtime

    @method("state_getMetadata")
    def metadata(self, hash: Hash | None = None) -> Json:
        """Return the metadata, version 14."""
        return self._blocks.metadata(hash)

    @method("state_getRuntimeVersion", "chain_getRuntimeVersion")
    def runtime_version(self, hash: Hash | None = None) -> Json:
        """Return the runtime's version."""
        self._blocks.header(hash)
        return version_form(self._blocks.version)

    @method("state_call", "state_callAt")
    async def call(self, name: str, bytes: HexBytes, hash: Hash | None = None) -> Json:
        """Call a runtime API at a block; `bytes` are its arguments in SCALE, 0x for none."""
        return to_hex(await self._blocks.call(name, bytes, hash))

    # ------------------------------------------------------------------------------ storage

    @method("state_getStorage", "state_getStorageAt")
    def storage(self, key: HexBytes, hash: Hash | None = None) -> Json:
        """Return the value of a key, null where there is none."""
        return _hex_or_null(self._blocks.state(hash)[1].get(key))

    @method("state_getStorageHash", "state_getStorageHashAt")
    def storage_hash(self, key: HexBytes, hash: Hash | None = None) -> Json:
        """Return the hash of the value of a key, null where there is none."""
        value = self._blocks.state(hash)[1].get(key)
        return None if value is None else to_hex(blake2b_256(value))

    @method("state_getStorageSize", "state_getStorageSizeAt")
    def storage_size(self, key: HexBytes, hash: Hash | None = None) -> Json:
        """Return the size of the value of a key in bytes, null where there is none."""
        value = self._blocks.state(hash)[1].get(key)
        return None if value is None else len(value)

    @method("state_getKeys")
    def keys(self, prefix: HexBytes, hash: Hash | None = None) -> Json:
        """Return all keys with a prefix, sorted; where they are many, ask page by page."""
        found = list(islice(self._blocks.state(hash)[1].keys(prefix), self._keys_listed + 1))
        if len(found) > self._keys_listed:
            raise CountTooBigError(
                f"More than {self._keys_listed} keys have this prefix. Use state_getKeysPaged."
            )
        return [to_hex(key) for key in found]

    @method("state_getKeysPaged", "state_getKeysPagedAt")
    def keys_paged(
        self,
        prefix: HexBytes | None = None,
        count: int = REQUIRED,
        start_key: HexBytes | None = None,
        hash: Hash | None = None,
    ) -> Json:
        """Return at most `count` keys with a prefix, sorted, after a start key."""
        if count > self._keys_per_page:
            raise CountTooBigError(
                f"count exceeds maximum value. value: {count}, max: {self._keys_per_page}"
            )
        keys = self._blocks.state(hash)[1].keys(prefix or b"", start_key or None)
        return [to_hex(key) for key in islice(keys, count)]

    @method("state_queryStorageAt")
    async def query_at(self, keys: list[HexBytes], at: Hash | None = None) -> Json:
        """Return the values of keys at a block, as a set of changes."""
        self._check_count(keys)
        header, backend = self._blocks.state(at)
        return [_change_set(header.hash, await self._values(backend, keys))]

    @method("state_queryStorage")
    async def query(self, keys: list[HexBytes], block: Hash, hash: Hash | None = None) -> Json:
        """Return how keys changed from a block to a later one, by default the best block."""
        self._check_count(keys)
        chain = self._node.chain
        first, last = self._blocks.header(block), self._blocks.header(hash)
        if not first.number <= last.number < first.number + self._span:
            raise BlockRangeError(
                f"Cannot resolve a block range: {first.number} to {last.number}. "
                f"Ask for at most {self._span} blocks, the older one first."
            )
        span = last.number - first.number + 1
        if len(keys) * span > self._values_per_query:
            raise InvalidParamsError(
                f"{len(keys)} keys at {span} blocks are more than {self._values_per_query} values. "
                "Ask for fewer keys or blocks at once."
            )
        changes: list[Json] = []
        known: dict[bytes, bytes | None] = {}
        for number in range(first.number, last.number + 1):
            block_hash = chain.hash_of(number)
            if block_hash is None:
                break
            now = await self._values(self._blocks.state(block_hash)[1], keys)
            different = {key: now[key] for key in now if key not in known or known[key] != now[key]}
            if different:
                changes.append(_change_set(block_hash, different))
            known = now
        return changes

    @method("state_getReadProof")
    def read_proof(self, keys: list[HexBytes], hash: Hash | None = None) -> Json:
        """Return the trie nodes that prove what keys hold at a block."""
        self._check_count(keys)
        header, backend = self._blocks.state(hash)
        try:
            proof = prove(backend, header.state_root, keys)
        except ProofError as error:
            raise RuntimeCallError(f"No proof can be made: {error}") from error
        return {"at": to_hex(header.hash), "proof": [to_hex(node) for node in proof]}

    # ------------------------------------------------------------------------ subscriptions

    @method("state_subscribeRuntimeVersion", "chain_subscribeRuntimeVersion")
    def subscribe_version(self, session: Session) -> Json:
        """Notify the runtime's version, and each that follows."""
        return session.subscribe(RUNTIME_VERSION, self._follow_version)

    @method("state_unsubscribeRuntimeVersion", "chain_unsubscribeRuntimeVersion")
    def unsubscribe_version(self, session: Session, subscription: SubscriptionId) -> Json:
        """End a subscription."""
        return session.unsubscribe(subscription, RUNTIME_VERSION)

    @method("state_subscribeStorage")
    def subscribe_storage(self, session: Session, keys: list[HexBytes]) -> Json:
        """Notify the values of keys, and how they change from one best block to the next."""
        self._check_count(keys)
        return session.subscribe(
            STORAGE, lambda subscription: self._follow_storage(subscription, keys)
        )

    @method("state_unsubscribeStorage")
    def unsubscribe_storage(self, session: Session, subscription: SubscriptionId) -> Json:
        """End a subscription."""
        return session.unsubscribe(subscription, STORAGE)

    async def _follow_version(self, subscription: Subscription) -> None:
        async with self._node.chain.events() as events:
            known = self._blocks.version
            await subscription.notify(version_form(known))
            async for _ in events:
                version = self._blocks.version
                if version != known:
                    known = version
                    await subscription.notify(version_form(version))
        raise LaggingError(subscription.event)

    async def _follow_storage(self, subscription: Subscription, keys: list[HexBytes]) -> None:
        chain = self._node.chain
        async with chain.events() as events:
            header, backend = self._blocks.state(None)
            known = await self._values(backend, keys)
            await subscription.notify(_change_set(header.hash, known))
            async for event in events:
                if not isinstance(event, BestChanged):
                    continue
                # Blocks that were overtaken while this subscriber waited are skipped.
                header, backend = self._blocks.state(None)
                now = await self._values(backend, keys)
                different = {key: value for key, value in now.items() if known[key] != value}
                if different:
                    known = now
                    await subscription.notify(_change_set(header.hash, different))
        raise LaggingError(subscription.event)

    async def _values(self, backend: Backend, keys: list[HexBytes]) -> dict[bytes, bytes | None]:
        """Read values, some in each turn; a state stays as it is whatever becomes final."""
        values: dict[bytes, bytes | None] = {}
        for start in range(0, len(keys), self._keys_per_turn):
            async with self._blocks.turn:
                for key in keys[start : start + self._keys_per_turn]:
                    values[key] = backend.get(key)
        return values

    def _check_count(self, keys: list[HexBytes]) -> None:
        if len(keys) > self._keys_per_query:
            raise InvalidParamsError(f"At most {self._keys_per_query} keys are answered at once.")


def _change_set(block_hash: Hash, changes: dict[bytes, bytes | None]) -> dict[str, Json]:
    return {
        "block": to_hex(block_hash),
        "changes": [[to_hex(key), _hex_or_null(value)] for key, value in changes.items()],
    }


def _hex_or_null(value: bytes | None) -> str | None:
    return None if value is None else to_hex(value)
