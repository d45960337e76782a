"""The transaction pool: submitted transactions that are valid and wait for a block.

    submitted -> ready      its nonce follows the account's state or another ready transaction
    submitted -> future     a nonce before it is missing
    ready -> in block -> finalized | finality timeout | retracted -> in block | ready | future
    any -> usurped (a better tip for the same nonce) | dropped (evicted) | invalid

Rules: the pool follows each change of the best branch before anything else runs, so it always fits
the best block; bytes of others are checked in the order of what a check costs: length, signer,
nonce and money for the fee, then the signature, then the call; a signature is checked once, and
again only where a mortal transaction's birth block is another one on the branch; an account's
transactions are ordered by nonce and accounts by tip, then arrival; every limit has its error. A
watcher that lags loses its watch, and costs the pool no time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from node.chain.chain import Chain
from node.chain.checked_signatures import Opened
from node.chain.events import BestChanged, ChainEvent, FinalChanged
from node.transactions.entry import WATCH_BACKLOG_MAX, Entry
from node.transactions.errors import (
    AlreadyImportedError,
    BadFormatError,
    Bans,
    ImmediatelyDroppedError,
    PoolError,
    PriorityTooLowError,
    refusal_of,
)
from node.transactions.inclusions import Inclusions
from node.transactions.queues import Queues
from node.transactions.status import Dropped, Invalidated, NotReady, Ready, Status, Usurped
from runtime.codec.hexadecimal import to_hex
from runtime.codec.scale import DecodeError
from runtime.crypto.hashing import blake2b_256
from runtime.frame import validity
from runtime.frame.extrinsic import EXTRINSIC_SIZE_MAX, Envelope, Extrinsic
from runtime.frame.validity import TransactionRefused
from runtime.types.era import Era
from runtime.types.primitives import AccountId, Hash

FUTURE_NONCES_MAX: Final = 2_048
FOREIGN_MAX: Final = 512
"""How many transactions of retracted blocks are taken in at one time that never waited here."""
BATCH_MAX: Final = 64
"""How many of many transactions are entered before other tasks get their turn."""
NOT_PERMANENT: Final = (validity.ExhaustsResources, validity.Future)
"""Refusals that a later block may lift."""
BRANCH_DEPENDENT: Final = (
    validity.Stale, validity.BadProof, validity.AncientBirthBlock, validity.CallInvalid,
)  # fmt: skip
"""Refusals that may hold on the author's parent block and not on the best one."""
RECOVERABLE: Final = (validity.Future, validity.Payment, validity.CallInvalid)
"""Refusals of what may become valid: such a transaction is not banned."""

logger = logging.getLogger(__name__)


class Pool:
    """Transactions that wait for a block of one chain."""

    def __init__(
        self,
        chain: Chain,
        clock: Callable[[], float] = trio.current_time,
        work_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._chain = chain
        self._work_clock = work_clock
        """The seconds of work of the thread that asks: waiting is no work of a peer's."""
        self._clients = trio.CapacityLimiter(1)
        self._queues = Queues()
        self._next_nonces: dict[AccountId, int] = {}
        """Next nonces at the best block of accounts that wait here; emptied when that moves."""
        self._inclusions = Inclusions()
        self._bans = Bans(clock)
        self._arrivals = 0
        self._changed = trio.Event()
        self.on_accepted: list[Callable[[bytes], None]] = []
        """Called with each transaction that was submitted and entered: gossip begins here."""
        chain.on_event.append(self._on_chain_event)

    def __len__(self) -> int:
        return len(self._queues)

    @property
    def size_bytes(self) -> int:
        """The bytes of all waiting transactions."""
        return self._queues.size_bytes

    # ----------------------------------------------------------------------------- entering

    def submit(self, raw: bytes) -> Hash:
        """Enter a transaction of this node. Raises PoolError; the pool is unchanged then."""
        self._check_raw(raw)
        try:
            extrinsic = self._chain.machine.extrinsics.decode(raw)
        except DecodeError as error:
            raise BadFormatError(str(error)) from error
        return self._accept(extrinsic).hash

    async def submit_untrusted(self, raw: bytes) -> Hash:
        """Enter a transaction of a client: what its bytes cost is spent off the event loop.

        Raises PoolError; the pool is unchanged then.
        """
        return self._accept(await self._open(raw)).hash

    async def submit_many(self, raws: Sequence[bytes]) -> list[Hash | PoolError]:
        """Enter transactions of a peer, in order, with the same care.

        Returns the hash or the refusal of each, which knows how long it took to find. Other tasks
        get their turn between batches, so a flood never holds up consensus.
        """
        results: list[Hash | PoolError] = []
        for start in range(0, len(raws), BATCH_MAX):
            results += await self._submit_batch(raws[start : start + BATCH_MAX])
        return results

    async def _submit_batch(self, raws: Sequence[bytes]) -> list[Hash | PoolError]:
        results: list[Hash | PoolError] = []
        waiting: list[tuple[int, Envelope]] = []
        seconds: list[float] = []
        for index, raw in enumerate(raws):
            started = self._work_clock()
            try:
                envelope = self._check_cheaply(raw)
            except PoolError as error:
                results.append(error)
            else:
                results.append(envelope.hash)
                waiting.append((index, envelope))
            seconds.append(self._work_clock() - started)
        envelopes = [envelope for _, envelope in waiting]
        opened = await self._chain.open(envelopes, self._work_clock) if waiting else []
        for (index, envelope), item in zip(waiting, opened, strict=True):
            started = self._work_clock()
            try:
                self._accept(self._extrinsic_of(envelope, item))
            except PoolError as error:
                results[index] = error
            seconds[index] += item.checking_seconds + self._work_clock() - started
        for result, spent in zip(results, seconds, strict=True):
            if isinstance(result, PoolError):
                result.checking_seconds = spent
        await trio.lowlevel.checkpoint()
        return results

    async def _open(self, raw: bytes) -> Extrinsic:
        """Check and decode a client's transaction, one at a time. Raises PoolError."""
        envelope = self._check_cheaply(raw)
        opened = await self._chain.open([envelope], self._work_clock, self._clients)
        return self._extrinsic_of(envelope, opened[0])

    def _check_cheaply(self, raw: bytes) -> Envelope:
        """Check all that costs the same for every call: a stranger without money gets no further.

        Raises PoolError.
        """
        transaction = self._check_raw(raw)
        try:
            envelope = self._chain.machine.extrinsics.decode_envelope(raw)
            next_nonce = self._chain.check_envelope(envelope)
        except DecodeError as error:
            raise BadFormatError(str(error)) from error
        except TransactionRefused as refusal:
            raise self._refuse(transaction, refusal) from refusal
        assert envelope.signed is not None, "the runtime validates only signed transactions"
        _check_distance(envelope.signed.extra.nonce, next_nonce)
        return envelope

    def _check_raw(self, raw: bytes) -> Hash:
        if len(raw) > EXTRINSIC_SIZE_MAX:
            raise BadFormatError(f"an extrinsic has at most {EXTRINSIC_SIZE_MAX} bytes")
        transaction = Hash(blake2b_256(raw))
        self._check_new(transaction)
        return transaction

    def _extrinsic_of(self, envelope: Envelope, opened: Opened) -> Extrinsic:
        """Return what was opened. Raises PoolError."""
        found = opened.found
        if isinstance(found, TransactionRefused):
            raise self._refuse(envelope.hash, found)
        if isinstance(found, DecodeError):
            raise BadFormatError(str(found)) from found
        # Checked again: it may be twice in the batch, or have come meanwhile.
        self._check_new(envelope.hash)
        return found

    def _refuse(self, transaction: Hash, refusal: TransactionRefused) -> PoolError:
        """Ban what will not become valid; returns the pool's error."""
        if not isinstance(refusal.reason, RECOVERABLE):
            self._bans.add(transaction)
        return refusal_of(refusal)

    def _check_new(self, transaction: Hash) -> None:
        if transaction in self._queues or transaction in self._inclusions:
            raise AlreadyImportedError(to_hex(transaction))
        self._bans.check(transaction)

    def _accept(self, extrinsic: Extrinsic) -> Entry:
        entry = self._enter(extrinsic)
        self._broadcast(entry)
        return entry

    def rebroadcast(self, transaction: Hash) -> bool:
        """Send a waiting transaction to peers again; False where it does not wait here."""
        entry = self._queues.get(transaction)
        if entry is not None:
            self._broadcast(entry)
        return entry is not None

    def _broadcast(self, entry: Entry) -> None:
        for listener in self.on_accepted:
            listener(entry.extrinsic.raw)

    def _enter(self, extrinsic: Extrinsic) -> Entry:
        entry, next_nonce = self._validate(extrinsic)
        replaced = self._queues.of(entry.account).get(entry.nonce)
        if replaced is not None and replaced.priority >= entry.priority:
            raise PriorityTooLowError(f"({replaced.priority} >= {entry.priority})")
        evicted = self._queues.evictions(entry, replaced)
        if replaced is not None:
            self._discard(replaced, Usurped(entry.hash))
        for victim in evicted:
            self._discard(victim, Dropped())
        self._queues.insert(entry)
        self._next_nonces[entry.account] = next_nonce
        self._wake()
        if entry.nonce + 1 in self._queues.of(entry.account) and self._is_ready(entry):
            self._notify_ready(entry.account, entry.nonce + 1)
        return entry

    def _validate(self, extrinsic: Extrinsic) -> tuple[Entry, int]:
        """Return the entry and its account's next nonce at the best block. Raises PoolError."""
        try:
            checked = self._chain.check(extrinsic)
        except TransactionRefused as refusal:
            raise self._refuse(extrinsic.hash, refusal) from refusal
        signed = extrinsic.signed
        assert signed is not None, "the runtime validates only signed transactions"
        assert signed.account is not None, "the runtime has resolved the signer"
        _check_distance(signed.extra.nonce, checked.nonce)
        self._arrivals += 1
        entry = Entry(
            extrinsic=extrinsic,
            hash=extrinsic.hash,
            account=signed.account,
            nonce=signed.extra.nonce,
            priority=checked.validity.priority,
            arrival=self._arrivals,
            birth=checked.birth if signed.extra.era.period else None,
            dies_at=self._chain.best.number + checked.validity.longevity,
        )
        return entry, checked.nonce

    # ---------------------------------------------------------------------------- watching

    @asynccontextmanager
    async def watch(self, raw: bytes) -> AsyncIterator[trio.MemoryReceiveChannel[Status]]:
        """Submit a transaction and receive its statuses until the last one.

        Raises PoolError before the first status. The channel ends after a last status, or early
        for a watcher that lags. Who stops watching at once has submitted it all the same.
        """
        with trio.CancelScope(shield=True):
            entry = self._accept(await self._open(raw))
        send, receive = trio.open_memory_channel[Status](WATCH_BACKLOG_MAX)
        entry.watchers.append(send)
        entry.notify(self._waiting_status(entry))
        try:
            async with receive:
                yield receive
        finally:
            send.close()
            if send in entry.watchers:
                entry.watchers.remove(send)

    def _waiting_status(self, entry: Entry) -> Status:
        return Ready() if self._is_ready(entry) else NotReady()

    def _notify_ready(self, account: AccountId, nonce: int) -> None:
        """Notify watchers of the account's unbroken run of transactions from a nonce on."""
        queue = self._queues.of(account)
        while nonce in queue:
            if not queue[nonce].is_ready:
                queue[nonce].notify(Ready())
            nonce += 1

    # ----------------------------------------------------------------------------- queries

    def pending(self) -> list[bytes]:
        """Return the waiting extrinsics in order of arrival."""
        return [
            entry.extrinsic.raw for entry in sorted(self._queues, key=lambda entry: entry.arrival)
        ]

    def next_nonce(self, account: AccountId) -> int:
        """Return the first nonce of an account that is used neither in state nor here."""
        nonce = self._state_nonce(account)
        queue = self._queues.of(account)
        while nonce in queue:
            nonce += 1
        return nonce

    def waiting(self, account: AccountId) -> dict[int, Hash]:
        """Return the waiting transactions of an account by nonce, ascending."""
        queue = self._queues.of(account)
        return {nonce: queue[nonce].hash for nonce in sorted(queue)}

    def candidates(self, limit: int) -> list[Extrinsic]:
        """Return ready transactions for a block: by priority, each account's by nonce."""
        return self._queues.candidates(limit, self._state_nonce)

    @property
    def has_ready(self) -> bool:
        """Return whether a block could take a transaction now."""
        return self._queues.has_ready(self._state_nonce)

    async def wait_changed(self) -> None:
        """Wait until a transaction enters or the best block changes."""
        await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _is_ready(self, entry: Entry) -> bool:
        return self._queues.is_ready(entry, self._state_nonce(entry.account))

    def _state_nonce(self, account: AccountId) -> int:
        nonce = self._next_nonces.get(account)
        if nonce is None:
            nonce = self._chain.nonce(account)
            if self._queues.has_account(account):  # others would grow the table without bound
                self._next_nonces[account] = nonce
        return nonce

    # ----------------------------------------------------------------------------- leaving

    def remove(self, transaction: Hash) -> bool:
        """Remove and ban a transaction, by the operator; False where it does not wait here."""
        entry = self._queues.get(transaction)
        if entry is None:
            return False
        self._bans.add(transaction)
        self._discard(entry, Dropped())
        return True

    def refuse(self, transaction: Hash, refusal: TransactionRefused) -> None:
        """Remove a transaction that an author could not include.

        The author may have built on another block than the best one: what fits the best one stays.
        """
        entry = self._queues.get(transaction)
        if entry is None or isinstance(refusal.reason, NOT_PERMANENT):
            return
        if isinstance(refusal.reason, BRANCH_DEPENDENT) and self._fits_best_block(entry):
            return
        self._bans.add(transaction)
        self._discard(entry, Invalidated())

    def _fits_best_block(self, entry: Entry) -> bool:
        try:
            self._chain.check(entry.extrinsic)
        except TransactionRefused:
            return False
        return True

    def _discard(self, entry: Entry, status: Status) -> None:
        self._queues.remove(entry)
        if not self._queues.has_account(entry.account):
            self._next_nonces.pop(entry.account, None)
        entry.notify(status, last=True)

    # ------------------------------------------------------------ following the best branch

    def _on_chain_event(self, event: ChainEvent) -> None:
        if isinstance(event, BestChanged):
            self._follow_best(event)
        elif isinstance(event, FinalChanged):
            self._inclusions.finalize(event.header.hash)

    def _follow_best(self, event: BestChanged) -> None:
        """Take back what left the best branch, and take out what is in it."""
        self._next_nonces.clear()
        retracted: list[Entry] = []
        foreign: list[bytes] = []
        for block in event.retracted:
            entries = self._inclusions.retract(block)
            retracted += entries
            ours = {entry.extrinsic.raw for entry in entries}
            foreign += [raw for raw in self._chain.body(block) or () if raw not in ours]
        touched = self._include_blocks(event, {entry.hash: entry for entry in retracted})
        for account in touched:
            self._drop_stale(account)
        self._drop_dead(event.header.number)
        if event.retracted:
            self._drop_other_births()
        for entry in sorted(retracted, key=lambda entry: entry.nonce):
            if entry.block is None:
                self._reenter(entry)
        self._enter_foreign(foreign)
        self._inclusions.time_out(event.header.number)
        self._wake()

    def _include_blocks(self, event: BestChanged, retracted: dict[Hash, Entry]) -> set[AccountId]:
        """Take out what blocks of the best branch include; returns whose nonces they used."""
        touched: set[AccountId] = set()
        first = event.header.number - len(event.enacted) + 1
        for number, block in enumerate(event.enacted, start=first):
            for raw in self._chain.body(block) or ():
                transaction = Hash(blake2b_256(raw))
                entry = self._queues.get(transaction)
                if entry is not None:
                    self._queues.remove(entry)
                else:
                    entry = retracted.get(transaction)
                if entry is not None:
                    self._inclusions.include(entry, block, number)
                    touched.add(entry.account)
                elif self._queues:
                    touched |= self._signers(raw)
        return touched

    def _signers(self, raw: bytes) -> set[AccountId]:
        """Return whose nonce an extrinsic used that never waited here."""
        signed = self._chain.machine.extrinsics.decode_envelope(raw).signed
        return set() if signed is None or signed.account is None else {signed.account}

    def _drop_stale(self, account: AccountId) -> None:
        """Drop what the state's nonce has passed; what waited for that nonce is ready now."""
        nonce = self._state_nonce(account)
        for entry in list(self._queues.of(account).values()):
            if entry.nonce < nonce:
                self._discard(entry, Invalidated())
        self._notify_ready(account, nonce)

    def _drop_dead(self, best: int) -> None:
        for entry in [entry for entry in self._queues if entry.dies_at <= best]:
            self._discard(entry, Invalidated())

    def _drop_other_births(self) -> None:
        """Drop waiting mortal transactions whose birth block is not of the best branch."""
        births: dict[Era, Hash | None] = {}
        for entry in [entry for entry in self._queues if entry.birth is not None]:
            signed = entry.extrinsic.signed
            assert signed is not None, "a transaction with a birth block is signed"
            era = signed.extra.era
            if era not in births:
                births[era] = self._chain.birth(entry.extrinsic)
            if births[era] != entry.birth:
                self._discard(entry, Invalidated())

    def _reenter(self, entry: Entry) -> None:
        """Take a transaction back; era, nonce and fee are checked on the new best branch."""
        try:
            self._check_new(entry.hash)
            returned = self._enter(entry.extrinsic)
        except PoolError as error:
            logger.info("transaction-lost transaction=%s reason=%r", to_hex(entry.hash), str(error))
            is_dropped = isinstance(error, ImmediatelyDroppedError)
            entry.notify(Dropped() if is_dropped else Invalidated(), last=True)
            return
        returned.watchers = entry.watchers
        if returned.watchers:
            returned.notify(self._waiting_status(returned))

    def _enter_foreign(self, raws: list[bytes]) -> None:
        """Enter what only retracted blocks held; without this its sender might lose it."""
        for raw in raws[:FOREIGN_MAX]:
            envelope = self._chain.machine.extrinsics.decode_envelope(raw)
            transaction = envelope.hash
            is_here = transaction in self._queues or transaction in self._inclusions
            if envelope.signed is None or is_here:
                continue
            try:
                self._enter(self._chain.machine.extrinsics.decode_call(envelope))
            except PoolError as error:
                logger.debug(
                    "transaction-lost transaction=%s reason=%r", to_hex(transaction), str(error)
                )


def _check_distance(nonce: int, expected: int) -> None:
    if nonce > expected + FUTURE_NONCES_MAX:
        raise ImmediatelyDroppedError(f"nonce {nonce} is too far ahead of {expected}")
