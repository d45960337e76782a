"""The typed, synchronous client of a node, for the command line, the GUI and tests.

To the queries of `QueryClient` it adds transactions, whose errors come back as sentences. They are
signed here; keys never leave this process. Before the first signature the node's genesis and
runtime version are compared with what the signature would bind. Not for use from several threads.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from node.client.endpoint import DEFAULT_URL
from node.client.errors import RequestRefusedError, UsageError, WrongNodeError
from node.client.queries import QueryClient
from node.client.remote_state import RemoteState
from node.client.results import (
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
from node.client.submission import OnStatus, follow, pool_refusal, runtime_refusal
from pallets.system import System
from pallets.transaction_payment import TransactionPayment
from runtime.codec.hexadecimal import to_hex
from runtime.crypto.hashing import blake2b_256
from runtime.crypto.keys import KeyKind, Keypair
from runtime.frame.dispatch import Call
from runtime.frame.events import ApplyExtrinsic, EventRecord
from runtime.frame.executive import Executive
from runtime.frame.extrinsic import Additional, Extra
from runtime.frame.machine import Machine
from runtime.frame.state import Overlay
from runtime.frame.validity import TransactionRefused
from runtime.types.era import IMMORTAL, mortal
from runtime.types.primitives import AccountData, AccountId, Hash

TIMEOUT_SECONDS: Final = 30.0
WAIT_SECONDS: Final = 120.0
ERA_BLOCKS: Final = 64
_UNSIGNED: Final = bytes(64)


class Client(QueryClient):
    """A client of one node that also signs and submits transactions."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        genesis_hash: Hash | None = None,
        machine: Machine | None = None,
        timeout_s: float = TIMEOUT_SECONDS,
    ) -> None:
        super().__init__(url, genesis_hash=genesis_hash, machine=machine, timeout_s=timeout_s)
        self._executive = Executive(self.machine)
        self._is_checked = False

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
            fee_planck=_fee_paid(records),
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
        notify = on_status or (lambda status: None)
        raw = to_hex(signed.raw)
        try:
            if wait is Wait.NONE:
                self._call("author_submitExtrinsic", [raw])
                notify("submitted")
                return Submitted(signed.hash)
            subscribing = self._connection.subscribe(
                "author_submitAndWatchExtrinsic", [raw], "author_unwatchExtrinsic"
            )
            with subscribing as updates:
                notify("submitted")
                block = follow(
                    next_update=updates.next,
                    extrinsic_hash=signed.hash,
                    wait=wait,
                    deadline=time.monotonic() + wait_s,
                    notify=notify,
                )
        except RequestRefusedError as error:
            raise pool_refusal(error) from error
        return self.included(signed.hash, block, is_final=wait is Wait.FINAL)

    def included(self, extrinsic_hash: Hash, block_hash: Hash, *, is_final: bool) -> Included:
        """Return the outcome of a transaction in a block. Raises UsageError if it is not in it."""
        block = self.block(block_hash)
        hashes = [extrinsic.hash for extrinsic in block.extrinsics]
        if extrinsic_hash not in hashes:
            raise UsageError(f"{to_hex(extrinsic_hash)} is not in block {to_hex(block_hash)}.")
        index = hashes.index(extrinsic_hash)
        phase = ApplyExtrinsic(index)
        records = tuple(record for record in self.events(block_hash) if record.phase == phase)
        failures = [
            record.event for record in records if isinstance(record.event, System.ExtrinsicFailed)
        ]
        error = failures[0].dispatch_error if failures else None
        kind = Finalized if is_final else Included
        return kind(
            extrinsic_hash=extrinsic_hash,
            block_hash=block_hash,
            block_number=block.header.number,
            index=index,
            fee_planck=_fee_paid(records),
            error=None if error is None else dispatch_sentence(self.machine, error),
            needs_funds=error is not None and needs_funds(self.machine, error),
            events=records,
        )

    def check_node(self) -> None:
        """Compare the node's genesis and runtime with this program's. Raises WrongNodeError."""
        if self._is_checked:
            return
        _ = self.genesis_hash
        theirs, ours = self._call("state_getRuntimeVersion", []), self.machine.version
        node_version = (theirs["specName"], theirs["specVersion"], theirs["transactionVersion"])
        if node_version != (ours.spec_name, ours.spec_version, ours.transaction_version):
            raise WrongNodeError(
                f"The node runs {node_version[0]} {node_version[1]}, this program signs for "
                f"{ours.spec_name} {ours.spec_version}. Install the version of the chain."
            )
        self._is_checked = True

    def _unsigned(self, call: Call, account: AccountId, tip: int = 0) -> bytes:
        """A transaction of the right length with a signature of zeros."""
        info = self.query("System", "account", account)
        codec_ = self.machine.extrinsics
        data = self.machine.call_codec.encode(call)
        extra = Extra(mortal(ERA_BLOCKS, self.header().number), info.nonce, tip)
        return codec_.assemble(
            call=data, extra=extra, account=account, kind=KeyKind.ED25519, signature=_UNSIGNED
        )


def _fee_paid(records: Sequence[EventRecord]) -> int:
    for record in records:
        if isinstance(record.event, TransactionPayment.TransactionFeePaid):
            return record.event.actual_fee
    return 0
