"""What the JSON-RPC server needs of a node: narrow Protocols, and a network without peers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import trio

from node.chain.events import ChainEvent
from node.operations.health import Health
from node.transactions.status import Status
from runtime.frame.executive import Executive
from runtime.frame.machine import Machine
from runtime.trie.backend import Backend
from runtime.types.primitives import AccountId, Hash, Header


class ChainView(Protocol):
    """The blocks and states of the chain (node/chain/chain.py)."""

    machine: Machine
    executive: Executive
    genesis_hash: Hash

    @property
    def name(self) -> str: ...
    @property
    def best(self) -> Header: ...
    @property
    def finalized(self) -> Header: ...
    def unfinalized(self) -> Sequence[Header]: ...
    def header(self, block_hash: Hash, /) -> Header | None: ...
    def body(self, block_hash: Hash, /) -> tuple[bytes, ...] | None: ...
    def justification(self, block_hash: Hash, /) -> bytes | None: ...
    def hash_of(self, number: int, /) -> Hash | None: ...
    def hashes_at(self, number: int, /) -> Sequence[Hash]: ...
    def state(self, block_hash: Hash, /) -> Backend: ...
    def events(self) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[ChainEvent]]: ...


class PoolView(Protocol):
    """The waiting transactions (node/transactions/pool.py)."""

    def __len__(self) -> int: ...
    async def submit_untrusted(self, raw: bytes, /) -> Hash: ...
    def watch(
        self, raw: bytes, /
    ) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[Status]]: ...
    def pending(self) -> list[bytes]: ...
    def remove(self, found: Hash, /) -> bool: ...
    def next_nonce(self, account: AccountId, /) -> int: ...


class Keys(Protocol):
    """The node's own keys, for callers on this machine only. All may raise ValueError."""

    def insert(self, kind: str, secret_uri: str, public: bytes, /) -> None: ...
    def rotate(self) -> bytes: ...
    def has(self, public: bytes, kind: str, /) -> bool: ...


class Sealer(Protocol):
    """Makes blocks on demand. May raise ValueError with the reason."""

    async def create_block(
        self, *, create_empty: bool, finalize: bool, parent: Hash | None
    ) -> Hash: ...
    async def finalize_block(self, block: Hash, justification: bytes | None, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Peer:
    """A connected node."""

    peer_id: str
    roles: str
    best_hash: Hash
    best_number: int


class RpcNetwork(Protocol):
    """The other nodes."""

    @property
    def peer_id(self) -> str: ...
    @property
    def listen_addresses(self) -> Sequence[str]: ...
    @property
    def is_syncing(self) -> bool: ...
    @property
    def highest_block(self) -> int | None: ...
    @property
    def should_have_peers(self) -> bool: ...
    def peers(self) -> Sequence[Peer]: ...


@dataclass(frozen=True, slots=True)
class NoNetwork:
    """The network of a node that has none."""

    peer_id: str = ""
    listen_addresses: tuple[str, ...] = ()
    is_syncing: bool = False
    highest_block: int | None = None
    should_have_peers: bool = False

    def peers(self) -> Sequence[Peer]:
        """Return no peers."""
        return ()


@dataclass(frozen=True, slots=True)
class About:
    """What a node says of itself. `chain_type` is Development, Local or Live."""

    name: str
    version: str
    chain_type: str
    properties: Mapping[str, Any]
    roles: tuple[str, ...] = ("Full",)


class RpcNode(Protocol):
    """A node as the JSON-RPC server sees it. `keys` and `sealer` are None where it has none."""

    @property
    def about(self) -> About: ...
    @property
    def chain(self) -> ChainView: ...
    @property
    def pool(self) -> PoolView: ...
    @property
    def network(self) -> RpcNetwork: ...
    @property
    def health(self) -> Health: ...
    @property
    def keys(self) -> Keys | None: ...
    @property
    def sealer(self) -> Sealer | None: ...
