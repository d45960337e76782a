"""The typed, synchronous client of a node, for the command line, the GUI and tests.

It composes the chain's own runtime, so storage, runtime APIs, events and errors come back as the
runtime's own values. Transactions are signed here; keys never leave this process. Before the first
signature the node's genesis and runtime version are compared with what the signature would bind.
Not for use from several threads.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Self

from node.client.blobs import Blobs
from node.client.endpoint import DEFAULT_URL, parse_endpoint
from node.client.errors import (
    RequestRefusedError,
    UsageError,
    WrongNodeError,
)
from node.client.recording import Recording
from node.client.remote_state import RemoteState, hexed, unhex
from node.client.results import (
    Block,
    ChainInfo,
    DryRun,
    FeeQuote,
    Finalized,
    Included,
    Outcome,
    Signed,
    Submitted,
    Wait,
)
from node.client.sentences import dispatch_sentence, needs_funds
from node.client.serving import Serving
from node.client.submission import OnStatus, follow, pool_refusal, runtime_refusal
from node.client.transport_http import HttpTransport
from node.client.transport_websocket import Subscription, WebSocketTransport
from pallets import compose
from pallets.system import System
from pallets.transaction_payment import TransactionPayment
from runtime.codec.scale import DecodeError, codec
from runtime.crypto import ss58
from runtime.crypto.hashing import blake2b_256
from runtime.crypto.keys import KeyKind, Keypair
from runtime.frame.dispatch import Call
from runtime.frame.events import ApplyExtrinsic, EventRecord
from runtime.frame.executive import Executive
from runtime.frame.extrinsic import Additional, Extra
from runtime.frame.machine import Machine
from runtime.frame.pallet import ApiSpec
from runtime.frame.state import Overlay
from runtime.frame.storage import Item, Map
from runtime.frame.validity import TransactionRefused
from runtime.shared.finality import ENGINE
from runtime.trie import proof
from runtime.types.era import IMMORTAL, mortal
from runtime.types.primitives import AccountData, AccountId, Digest, DigestItem, Hash, Header

TIMEOUT_SECONDS: Final = 30.0
WAIT_SECONDS: Final = 120.0
ERA_BLOCKS: Final = 64
_UNSIGNED: Final = bytes(64)


class Client:
    """A connection to one node. `genesis_hash` pins the chain; a node of another is refused."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        genesis_hash: Hash | None = None,
        machine: Machine | None = None,
        timeout_s: float = TIMEOUT_SECONDS,
    ) -> None:
        self.endpoint = parse_endpoint(url)
        self.machine = machine or compose()
        self.timeout_s = timeout_s
        self._executive = Executive(self.machine)
        self._apis = _apis_of(self.machine)
        self._http = HttpTransport(self.endpoint, timeout_s)
        self._socket: WebSocketTransport | None = None
        self._wanted_genesis = genesis_hash
        self._genesis_hash: Hash | None = None
        self._is_checked = False
        self._recording: Recording | None = None
        self.blobs = Blobs(self._http)
        self.serving = Serving(self._http)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def call(self, method: str, *params: Any) -> Any:
        """Return the JSON result of any JSON-RPC method. Raises RequestRefusedError."""
        return self._call(method, list(params))

    # ----------------------------------------------------------------------------------- chain

    @property
    def genesis_hash(self) -> Hash:
        """The hash of the chain's first block. Raises WrongNodeError for another than pinned."""
        if self._genesis_hash is None:
            found = Hash(unhex(self._call("chain_getBlockHash", [0])))
            if self._wanted_genesis not in (None, found):
                raise WrongNodeError(
                    f"The node at {self.endpoint.websocket_url} is on another chain (genesis "
                    f"{hexed(found)}). Name a node of the wanted chain with --url."
                )
            self._genesis_hash = found
        return self._genesis_hash

    def info(self) -> ChainInfo:
        """Return what the node says about itself and its chain."""
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

    def block_hash(self, number: int) -> Hash:
        """Return the hash of a block of the best chain. Raises UsageError when there is none."""
        text = self._call("chain_getBlockHash", [number])
        if text is None:
            raise UsageError(f"The chain has no block {number} yet. Ask for an earlier one.")
        return Hash(unhex(text))

    def finalized_hash(self) -> Hash:
        """Return the hash of the last final block."""
        return Hash(unhex(self._call("chain_getFinalizedHead", [])))

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
        inside = answer["block"]
        proofs = {bytes(engine): bytes(proof) for engine, proof in answer["justifications"] or ()}
        return Block(
            _header_of(inside["header"]),
            tuple(self.machine.extrinsics.decode(unhex(raw)) for raw in inside["extrinsics"]),
            proofs.get(ENGINE),
        )

    def new_blocks(self) -> AbstractContextManager[Subscription]:
        """Receive the JSON headers of final blocks within the body."""
        return self._websocket().subscribe(
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

        Raises ProofError when the node cannot prove what it says.
        """
        bound = self._item(pallet, item)
        key = bound.prefix
        if isinstance(bound, Map):
            key = bound.key(keys[0] if len(keys) == 1 else keys)
        answer = self._call("state_getReadProof", [[hexed(key)], hexed(block.hash)])
        raw = proof.verify(block.state_root, [unhex(node) for node in answer["proof"]], key)
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
        """Return what a runtime API answers, such as `api("BalancesApi_account_balance", who)`."""
        spec = self._apis.get(name)
        if spec is None:
            raise UsageError(f"This runtime has no API {name}. It has: {', '.join(self._apis)}.")
        hints = [hint for _, hint in spec.arguments]
        data = b"".join(
            self.machine.codec(hint).encode(argument)
            for hint, argument in zip(hints, arguments, strict=True)
        )
        answer = self._call("state_call", [name, hexed(data), *self._at(at)])
        return self._decode(spec.returns, unhex(answer), name)

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

    # ---------------------------------------------------------------------------- transactions

    def make_call(self, pallet: str, name: str, /, **arguments: Any) -> Call:
        """Return a call with named arguments. Raises UnknownCallError or TypeError."""
        names = [argument for argument, _ in self.machine.bound(pallet, name).spec.arguments]
        if set(names) != set(arguments):
            raise TypeError(f"{pallet}.{name} takes ({', '.join(names)})")
        return Call(pallet, name, tuple(arguments[argument] for argument in names))

    def fee(self, call: Call, account: AccountId) -> FeeQuote:
        """Return what a call by this account would cost now."""
        extrinsic = self.machine.extrinsics.decode(self._unsigned(call, account))
        info = self.api("TransactionPaymentApi_query_info", extrinsic, len(extrinsic.raw))
        return FeeQuote(info.partial_fee, info.weight)

    def dry_run(self, call: Call, account: AccountId, *, tip: int = 0) -> DryRun:
        """Run a call by this account on the node's best state, here, and keep nothing.

        No key is needed. Raises InsufficientFundsError when the fee cannot be paid.
        """
        self.check_node()
        best = self.header()
        extrinsic = self.machine.extrinsics.decode(self._unsigned(call, account, tip))
        state = RemoteState(self._call, best.hash)
        try:
            applied, records, overlay = self._executive.dry_run(state, best, extrinsic)
        except TransactionRefused as refusal:
            raise runtime_refusal(refusal) from refusal
        account_item = self._item("System", "account")
        with self.machine.on(Overlay(state)):
            before: AccountData = account_item.get(account).data  # type: ignore[attr-defined]
        with self.machine.on(overlay):
            after: AccountData = account_item.get(account).data  # type: ignore[attr-defined]
        error = applied.error
        return DryRun(
            fee_planck=self._fee_paid(records),
            error=None if error is None else dispatch_sentence(self.machine, error),
            needs_funds=error is not None and needs_funds(self.machine, error),
            events=records,
            before=before,
            after=after,
        )

    def sign(
        self,
        call: Call,
        pair: Keypair,
        *,
        nonce: int | None = None,
        tip: int = 0,
        era_blocks: int = ERA_BLOCKS,
    ) -> Signed:
        """Sign a call; it is valid for `era_blocks` blocks from the final one (0: for ever)."""
        self.check_node()
        account = AccountId(pair.account)
        number = self.nonce(account) if nonce is None else nonce
        final = self.header(self.finalized_hash())
        era = mortal(era_blocks, final.number) if era_blocks else IMMORTAL
        birth = era.birth(final.number)
        birth_hash = self.genesis_hash if birth == 0 else self.block_hash(birth)
        version = self.machine.version
        additional = Additional(
            version.spec_version, version.transaction_version, self.genesis_hash, birth_hash
        )
        raw = self.machine.extrinsics.sign(call, pair, Extra(era, number, tip), additional)
        return Signed(raw, Hash(blake2b_256(raw)), account, number)

    def submit(
        self,
        signed: Signed,
        wait: Wait = Wait.INCLUDED,
        *,
        wait_s: float = WAIT_SECONDS,
        on_status: OnStatus | None = None,
    ) -> Outcome:
        """Send a signed transaction and follow it as far as `wait` says.

        A failed dispatch is an Included with `error`. Raises RejectedError,
        InsufficientFundsError, MayStillLandError.
        """
        tell = on_status or (lambda status: None)
        raw = hexed(signed.raw)
        try:
            if wait is Wait.NONE:
                self._call("author_submitExtrinsic", [raw])
                tell("submitted")
                return Submitted(signed.hash)
            subscribing = self._websocket().subscribe(
                "author_submitAndWatchExtrinsic", [raw], "author_unwatchExtrinsic"
            )
            with subscribing as updates:
                tell("submitted")
                block = follow(
                    next_update=updates.next,
                    extrinsic_hash=signed.hash,
                    wait=wait,
                    deadline=time.monotonic() + wait_s,
                    tell=tell,
                )
        except RequestRefusedError as error:
            raise pool_refusal(error) from error
        return self.included(signed.hash, block, is_final=wait is Wait.FINAL)

    def included(self, extrinsic_hash: Hash, block_hash: Hash, *, is_final: bool) -> Included:
        """Return what became of a transaction in a block. Raises UsageError if not in there."""
        block = self.block(block_hash)
        hashes = [extrinsic.hash for extrinsic in block.extrinsics]
        if extrinsic_hash not in hashes:
            raise UsageError(f"{hexed(extrinsic_hash)} is not in block {hexed(block_hash)}.")
        index = hashes.index(extrinsic_hash)
        phase = ApplyExtrinsic(index)
        records = tuple(record for record in self.events(block_hash) if record.phase == phase)
        failed = [one.event for one in records if isinstance(one.event, System.ExtrinsicFailed)]
        error = failed[0].dispatch_error if failed else None
        kind = Finalized if is_final else Included
        return kind(
            extrinsic_hash,
            block_hash,
            block.header.number,
            index,
            self._fee_paid(records),
            None if error is None else dispatch_sentence(self.machine, error),
            error is not None and needs_funds(self.machine, error),
            records,
        )

    def check_node(self) -> None:
        """Compare the node's genesis and runtime with this program's. Raises WrongNodeError."""
        if self._is_checked:
            return
        _ = self.genesis_hash
        theirs, ours = self._call("state_getRuntimeVersion", []), self.machine.version
        found = (theirs["specName"], theirs["specVersion"], theirs["transactionVersion"])
        if found != (ours.spec_name, ours.spec_version, ours.transaction_version):
            raise WrongNodeError(
                f"The node runs {found[0]} {found[1]}, this program signs for {ours.spec_name} "
                f"{ours.spec_version}. Install the version of the chain."
            )
        self._is_checked = True

    # -------------------------------------------------------------------------------- internal

    def use_recording(self, recording: Recording) -> None:
        """Record every answer from now on, or replay recorded ones without a node."""
        self._recording = self._http.recording = recording

    def _call(self, method: str, params: list[Any]) -> Any:
        if self._recording is None:
            return self._ask(method, params)
        recorded = self._recording.response(
            json.dumps([method, params]), lambda: json.dumps(self._ask(method, params)).encode()
        )
        return json.loads(recorded)

    def _ask(self, method: str, params: list[Any]) -> Any:
        if self.endpoint.prefers_http:
            return self._http.call(method, params)
        return self._websocket().call(method, params)

    def _websocket(self) -> WebSocketTransport:
        if self._socket is None:
            self._socket = WebSocketTransport(self.endpoint, self.timeout_s)
        return self._socket

    def _at(self, block: Hash | int | None) -> list[str]:
        if block is None:
            return []
        return [hexed(self.block_hash(block) if isinstance(block, int) else block)]

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

    def _unsigned(self, call: Call, account: AccountId, tip: int = 0) -> bytes:
        """A transaction of the right length with a signature of zeros."""
        info = self.query("System", "account", account)
        codec_ = self.machine.extrinsics
        data = self.machine.call_codec.encode(call)
        extra = Extra(mortal(ERA_BLOCKS, self.header().number), info.nonce, tip)
        return codec_.assemble(
            call=data, extra=extra, account=account, kind=KeyKind.ED25519, signature=_UNSIGNED
        )

    def _fee_paid(self, records: Sequence[EventRecord]) -> int:
        for record in records:
            if isinstance(record.event, TransactionPayment.TransactionFeePaid):
                return record.event.actual_fee
        return 0


def _apis_of(machine: Machine) -> dict[str, ApiSpec]:
    return {
        f"{spec.trait}_{spec.name}": spec
        for pallet in machine.pallets.values()
        for spec in pallet.api_specs
    }


def _header_of(answer: dict[str, Any]) -> Header:
    items = codec(DigestItem)
    return Header(
        parent_hash=Hash(unhex(answer["parentHash"])),
        number=int(answer["number"], 16),
        state_root=Hash(unhex(answer["stateRoot"])),
        extrinsics_root=Hash(unhex(answer["extrinsicsRoot"])),
        digest=Digest(tuple(items.decode(unhex(text)) for text in answer["digest"]["logs"])),
    )
