"""The reading half of the client: chain, storage, runtime APIs and constants of one node.

It composes the chain's own runtime, so storage, runtime APIs and events come back as the runtime's
own values. `node/client/client.py` adds transactions. Not for use from several threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Self

from node.client.blobs import Blobs
from node.client.connection import Connection
from node.client.endpoint import Endpoint
from node.client.errors import RequestRefusedError, UsageError, WrongNodeError
from node.client.recording import Recording
from node.client.remote_state import RemoteState
from node.client.results import Block, ChainInfo
from node.client.serving import Serving
from node.client.transport_websocket import Subscription
from pallets import compose
from runtime.codec.hexadecimal import from_hex, to_hex
from runtime.codec.scale import DecodeError, codec
from runtime.crypto import ss58
from runtime.frame.events import EventRecord
from runtime.frame.machine import Machine
from runtime.frame.pallet import ApiSpec
from runtime.frame.state import Overlay
from runtime.frame.storage import Item, Map
from runtime.shared.finality import ENGINE
from runtime.trie import proof
from runtime.types.primitives import AccountData, AccountId, Digest, DigestItem, Hash, Header


class QueryClient:
    """Queries of one node. `genesis_hash` pins the chain; a node of another is refused."""

    def __init__(
        self,
        url: str,
        *,
        genesis_hash: Hash | None,
        machine: Machine | None,
        timeout_s: float,
    ) -> None:
        self.machine = machine or compose()
        self.timeout_s = timeout_s
        self._connection = Connection(url, timeout_s)
        self._apis = _apis_of(self.machine)
        self._pinned_genesis = genesis_hash
        self._genesis_hash: Hash | None = None
        self.blobs = Blobs(self._connection.http)
        self.serving = Serving(self._connection.http)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    @property
    def endpoint(self) -> Endpoint:
        """The address of the node."""
        return self._connection.endpoint

    def call(self, method: str, *params: Any) -> Any:
        """Return the JSON result of any JSON-RPC method. Raises RequestRefusedError."""
        return self._call(method, list(params))

    def use_recording(self, recording: Recording) -> None:
        """Record every answer from now on, or replay recorded ones without a node."""
        self._connection.use_recording(recording)

    # ----------------------------------------------------------------------------------- chain

    @property
    def genesis_hash(self) -> Hash:
        """The hash of the chain's first block. Raises WrongNodeError for another than pinned."""
        if self._genesis_hash is None:
            genesis = Hash(from_hex(self._call("chain_getBlockHash", [0])))
            if self._pinned_genesis not in (None, genesis):
                raise WrongNodeError(
                    f"The node at {self.endpoint.websocket_url} is on another chain (genesis "
                    f"{to_hex(genesis)}). Name a node of the wanted chain with --url."
                )
            self._genesis_hash = genesis
        return self._genesis_hash

    def info(self) -> ChainInfo:
        """Return the node's description of itself and its chain."""
        version = self._call("state_getRuntimeVersion", [])
        health = self._call("system_health", [])
        return ChainInfo(
            chain=self._call("system_chain", []),
            node_name=self._call("system_name", []),
            node_version=self._call("system_version", []),
            genesis_hash=self.genesis_hash,
            spec_name=version["specName"],
            spec_version=version["specVersion"],
            transaction_version=version["transactionVersion"],
            best=self.header(),
            finalized=self.header(self.finalized_hash()),
            peers=health["peers"],
            is_syncing=health["isSyncing"],
        )

    def problems(self) -> tuple[str, ...]:
        """Return what keeps the node from serving well, a sentence each; none for others' nodes."""
        try:
            health = self._call("openledger_health", [])
        except RequestRefusedError:
            return ()
        return tuple(problem["sentence"] for problem in health["problems"])

    def block_hash(self, number: int) -> Hash:
        """Return the hash of a block of the best chain. Raises UsageError when there is none."""
        text = self._call("chain_getBlockHash", [number])
        if text is None:
            raise UsageError(f"The chain has no block {number} yet. Ask for an earlier one.")
        return Hash(from_hex(text))

    def finalized_hash(self) -> Hash:
        """Return the hash of the last final block."""
        return Hash(from_hex(self._call("chain_getFinalizedHead", [])))

    def header(self, block: Hash | int | None = None) -> Header:
        """Return the header of a block, by default the best one. Raises UsageError."""
        answer = self._call("chain_getHeader", self._at(block))
        if answer is None:
            raise UsageError("The node does not know this block. Check its hash.")
        return _header_of(answer)

    def block(self, block: Hash | int | None = None) -> Block:
        """Return a block with its extrinsics, by default the best one. Raises UsageError."""
        answer = self._call("chain_getBlock", self._at(block))
        if answer is None:
            raise UsageError("The node does not know this block. Check its hash.")
        body = answer["block"]
        proofs = {bytes(engine): bytes(proof) for engine, proof in answer["justifications"] or ()}
        return Block(
            _header_of(body["header"]),
            tuple(self.machine.extrinsics.decode(from_hex(raw)) for raw in body["extrinsics"]),
            proofs.get(ENGINE),
        )

    def new_blocks(self) -> AbstractContextManager[Subscription]:
        """Receive the JSON headers of final blocks within the body."""
        return self._connection.subscribe(
            "chain_subscribeFinalizedHeads", [], "chain_unsubscribeFinalizedHeads"
        )

    def events(self, block: Hash | int | None = None) -> tuple[EventRecord, ...]:
        """Return the events of a block, by default the best one."""
        records: tuple[EventRecord, ...] = self.query("System", "events", at=block)
        return records

    # ----------------------------------------------------------------------------------- state

    def query(self, pallet: str, item: str, *keys: Any, at: Hash | int | None = None) -> Any:
        """Return a storage value of the composed runtime, by key where the item is a map."""
        with self.machine.on(self._overlay(at)):
            bound = self._item(pallet, item)
            if not isinstance(bound, Map):
                return bound.get()  # type: ignore[attr-defined]
            return bound.get(keys[0] if len(keys) == 1 else keys)

    def query_many(
        self, pallet: str, item: str, keys: Sequence[Any], at: Hash | int | None = None
    ) -> list[Any]:
        """Return the values of many keys of a map, in their order, in few requests."""
        state = RemoteState(self._call, self._block(at))
        with self.machine.on(Overlay(state)):
            bound = self._item(pallet, item)
            assert isinstance(bound, Map), "only maps have keys"
            state.prefetch([bound.key(key) for key in keys])
            return [bound.get(key) for key in keys]

    def query_proven(self, pallet: str, item: str, *keys: Any, block: Header) -> Any:
        """Return a storage value with its proof checked against a header; None where absent.

        Raises ProofError when the node cannot prove its answer.
        """
        bound = self._item(pallet, item)
        key = bound.prefix
        if isinstance(bound, Map):
            key = bound.key(keys[0] if len(keys) == 1 else keys)
        answer = self._call("state_getReadProof", [[to_hex(key)], to_hex(block.hash)])
        raw = proof.verify(block.state_root, [from_hex(node) for node in answer["proof"]], key)
        return None if raw is None else self._decode(bound.spec.value, raw, f"{pallet}.{item}")

    def entries(
        self, pallet: str, item: str, *first: Any, at: Hash | int | None = None
    ) -> list[tuple[Any, Any]]:
        """Return the (key, value) pairs of a map; `first` fixes its leading keys."""
        with self.machine.on(self._overlay(at)):
            bound = self._item(pallet, item)
            if not isinstance(bound, Map):
                raise UsageError(f"{pallet}.{item} is one value, not a map. Use query.")
            return list(bound.items(*first))

    def api(self, name: str, *arguments: Any, at: Hash | int | None = None) -> Any:
        """Return the result of a runtime API, such as `api("BalancesApi_account_balance", who)`."""
        spec = self._apis.get(name)
        if spec is None:
            raise UsageError(f"This runtime has no API {name}. It has: {', '.join(self._apis)}.")
        hints = [hint for _, hint in spec.arguments]
        data = b"".join(
            self.machine.codec(hint).encode(argument)
            for hint, argument in zip(hints, arguments, strict=True)
        )
        answer = self._call("state_call", [name, to_hex(data), *self._at(at)])
        return self._decode(spec.returns, from_hex(answer), name)

    def constant(self, pallet: str, name: str) -> Any:
        """Return a constant of a pallet, as this program's runtime has it."""
        values = self.machine.pallets[pallet].constant_values
        if name not in values:
            raise UsageError(f"{pallet} has no constant {name}. It has: {', '.join(values)}.")
        return values[name][1]

    def balance(self, account: AccountId, at: Hash | int | None = None) -> AccountData:
        """Return free, held and frozen balance of an account."""
        data: AccountData = self.query("System", "account", account, at=at).data
        return data

    def nonce(self, account: AccountId) -> int:
        """Return the account's next nonce, the pool's transactions counted."""
        return int(self._call("account_nextIndex", [ss58.encode(account)]))

    # -------------------------------------------------------------------------------- internal

    def _call(self, method: str, params: list[Any]) -> Any:
        return self._connection.call(method, params)

    def _at(self, block: Hash | int | None) -> list[str]:
        if block is None:
            return []
        return [to_hex(self.block_hash(block) if isinstance(block, int) else block)]

    def _overlay(self, at: Hash | int | None) -> Overlay:
        return Overlay(RemoteState(self._call, self._block(at)))

    def _block(self, at: Hash | int | None) -> Hash:
        block = self.block_hash(at) if isinstance(at, int) else at
        return block or self.header().hash

    def _item(self, pallet: str, item: str) -> Item:
        owner = self.machine.pallets.get(pallet)
        if owner is None or item not in owner.item_specs:
            raise UsageError(f"This runtime has no storage {pallet}.{item}.")
        bound: Item = getattr(owner, item)
        return bound

    def _decode(self, hint: Any, data: bytes, name: str) -> Any:
        try:
            return self.machine.codec(hint).decode(data)
        except DecodeError as error:
            raise WrongNodeError(
                f"The node answers {name} in another form than this program's runtime ({error}). "
                "Install the version of the chain."
            ) from error


def _apis_of(machine: Machine) -> dict[str, ApiSpec]:
    return {
        f"{spec.trait}_{spec.name}": spec
        for pallet in machine.pallets.values()
        for spec in pallet.api_specs
    }


def _header_of(answer: dict[str, Any]) -> Header:
    items = codec(DigestItem)
    return Header(
        parent_hash=Hash(from_hex(answer["parentHash"])),
        number=int(answer["number"], 16),
        state_root=Hash(from_hex(answer["stateRoot"])),
        extrinsics_root=Hash(from_hex(answer["extrinsicsRoot"])),
        digest=Digest(tuple(items.decode(from_hex(text)) for text in answer["digest"]["logs"])),
    )
