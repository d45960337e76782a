"""The transaction pool: what has been submitted, is valid, and waits for a block.

    submitted -> ready      its nonce follows the account's state or another ready transaction
    submitted -> future     a nonce before it is missing
    ready -> in block -> finalized | finality timeout | retracted -> in block | ready | future
    any -> usurped (a better tip for the same nonce) | dropped (evicted) | invalid

Rules: the pool hears of each change of the chain at once, so it always fits the best block; a
signature is checked once, on entry, and again only where a mortal one's birth block is another on
the branch; each account's transactions are ordered by nonce and between accounts the tip decides,
then arrival; every limit below has its error. Watchers that lag lose their watch, never the pool
its time.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from node.chain.chain import BestChanged, Chain, ChainEvent, Finalized
from node.rpc.parameters import to_hex
from node.transactions.entry import WATCH_BACKLOG_MAX, Entry, Status
from node.transactions.errors import (
    REFUSALS,
    AlreadyImportedError,
    BadFormatError,
    Bans,
    ImmediatelyDroppedError,
    InvalidTransactionError,
    PoolError,
    PriorityTooLowError,
    refusal_of,
)
from runtime.codec.scale import DecodeError
from runtime.crypto.hashing import blake2b_256
from runtime.frame.extrinsic import EXTRINSIC_SIZE_MAX, Extrinsic
from runtime.frame.validity import (
    AncientBirthBlock,
    BadProof,
    ExhaustsResources,
    Future,
    Payment,
    Stale,
    TransactionRefused,
)
from runtime.types.era import Era
from runtime.types.primitives import AccountId, Hash

TRANSACTIONS_MAX: Final = 16_384
BYTES_MAX: Final = 40 * 1024 * 1024
PER_ACCOUNT_MAX: Final = 2_048
FUTURE_NONCES_MAX: Final = 2_048
FINALITY_BLOCKS_MAX: Final = 512
"""How long a watcher waits in a block for finality."""
RETURNED_STRANGERS_MAX: Final = 512
"""How many transactions of retracted blocks come in that never waited here, at one time."""
BATCH: Final = 64
"""How many of many transactions are entered before others get their turn."""

logger = logging.getLogger(__name__)


class Pool:
    """Transactions that wait for a block of one chain."""

    def __init__(self, chain: Chain, clock: Callable[[], float] = trio.current_time) -> None:
        self._chain = chain
        self._entries: dict[Hash, Entry] = {}
        self._accounts: dict[AccountId, dict[int, Entry]] = {}
        self._included: dict[Hash, tuple[int, list[Entry]]] = {}
        """Blocks of the best branch that are not final: number, and what they took from here."""
        self._in_blocks: dict[Hash, Entry] = {}
        self._bans = Bans(clock)
        self._bytes = 0
        self._arrivals = 0
        self._changed = trio.Event()
        self.on_accepted: list[Callable[[bytes], None]] = []
        """Called with each transaction that was submitted and entered: gossip begins here."""
        chain.on_event.append(self._hear)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """The bytes of all waiting transactions."""
        return self._bytes

    # ----------------------------------------------------------------------------- entering

    def submit(self, raw: bytes) -> Hash:
        """Take a transaction in. Raises PoolError; the pool is unchanged then."""
        return self._accept(self._new(raw)).hash

    async def submit_many(self, raws: Sequence[bytes]) -> list[Hash | PoolError]:
        """Take transactions of a peer in, in order; signatures are checked off the event loop.

        Returns the hash or the refusal of each. Others get their turn between batches, so a flood
        never holds up consensus.
        """
        results: list[Hash | PoolError] = []
        for start in range(0, len(raws), BATCH):
            results += await self._submit_batch(raws[start : start + BATCH])
        return results

    async def _submit_batch(self, raws: Sequence[bytes]) -> list[Hash | PoolError]:
        judged = [self._judge(raw) for raw in raws]
        fresh = [each for each in judged if isinstance(each, Extrinsic)]
        signed = iter(await self._chain.check_signatures(fresh))
        results: list[Hash | PoolError] = []
        for each in judged:
            if isinstance(each, PoolError):
                results.append(each)
            elif not next(signed):
                self._bans.add(each.hash)
                results.append(InvalidTransactionError(REFUSALS[BadProof]))
            else:
                try:
                    # Asked again: it may have come twice in one batch, or meanwhile.
                    self._check_new(each.hash)
                    results.append(self._accept(each).hash)
                except PoolError as error:
                    results.append(error)
        await trio.lowlevel.checkpoint()
        return results

    def _judge(self, raw: bytes) -> Extrinsic | PoolError:
        try:
            return self._new(raw)
        except PoolError as error:
            return error

    def _new(self, raw: bytes) -> Extrinsic:
        """Decode a transaction that is neither here nor banned."""
        if len(raw) > EXTRINSIC_SIZE_MAX:
            raise BadFormatError(f"an extrinsic has at most {EXTRINSIC_SIZE_MAX} bytes")
        found = Hash(blake2b_256(raw))
        self._check_new(found)
        try:
            return self._chain.machine.extrinsics.decode(raw)
        except DecodeError as error:
            raise BadFormatError(str(error)) from error

    def _check_new(self, found: Hash) -> None:
        if found in self._entries or found in self._in_blocks:
            raise AlreadyImportedError(to_hex(found))
        self._bans.check(found)

    def _accept(self, extrinsic: Extrinsic) -> Entry:
        entry = self._enter(extrinsic)
        self._offer(entry)
        return entry

    def offer_again(self, found: Hash) -> bool:
        """Tell peers again of a transaction; False where it does not wait here."""
        if found in self._entries:
            self._offer(self._entries[found])
        return found in self._entries

    def _offer(self, entry: Entry) -> None:
        for listener in self.on_accepted:
            listener(entry.extrinsic.raw)

    def _enter(self, extrinsic: Extrinsic) -> Entry:
        found = extrinsic.hash
        entry = self._validate(extrinsic, found)
        former = self._accounts.get(entry.account, {}).get(entry.nonce)
        if former is not None and former.priority >= entry.priority:
            raise PriorityTooLowError(f"({former.priority} >= {entry.priority})")
        victims = self._victims(entry, former)
        if former is not None:
            self._forget(former, {"usurped": to_hex(found)})
        for victim in victims:
            self._forget(victim, "dropped")
        self._insert(entry)
        if entry.nonce + 1 in self._accounts[entry.account] and self._is_ready(entry):
            self._tell_ready(entry.account, entry.nonce + 1)
        return entry

    def _validate(self, extrinsic: Extrinsic, found: Hash) -> Entry:
        best = self._chain.best
        try:
            valid = self._chain.validate(extrinsic)
        except TransactionRefused as refusal:
            if not isinstance(refusal.reason, Future | Payment):
                self._bans.add(found)
            raise refusal_of(refusal) from refusal
        signed = extrinsic.signed
        assert signed is not None, "the runtime validates signed transactions alone"
        assert signed.account is not None, "the runtime has resolved the signer"
        expected = self._state_nonce(signed.account)
        if signed.extra.nonce > expected + FUTURE_NONCES_MAX:
            raise ImmediatelyDroppedError(
                f"nonce {signed.extra.nonce} is too far ahead of {expected}"
            )
        self._arrivals += 1
        return Entry(
            extrinsic,
            found,
            signed.account,
            signed.extra.nonce,
            valid.priority,
            self._arrivals,
            self._chain.birth(extrinsic) if signed.extra.era.period else None,
            best.number + valid.longevity,
        )

    def _victims(self, entry: Entry, former: Entry | None) -> list[Entry]:
        """Return the cheapest transactions, to be dropped so that one more fits.

        They come from the ends of the other accounts' queues: dropping those strands no other.
        Raises ImmediatelyDroppedError.
        """
        own = self._accounts.get(entry.account, {})
        if former is None and len(own) >= PER_ACCOUNT_MAX:
            raise ImmediatelyDroppedError(f"{PER_ACCOUNT_MAX} transactions of this account wait")
        count = len(self._entries) + (former is None)
        size = self._bytes + len(entry.extrinsic.raw)
        size -= 0 if former is None else len(former.extrinsic.raw)
        if count <= TRANSACTIONS_MAX and size <= BYTES_MAX:
            return []
        tails = [
            _in_order(others[max(others)])
            for others in self._accounts.values()
            if others is not own
        ]
        heapq.heapify(tails)
        queues: dict[AccountId, list[int]] = {}
        victims: list[Entry] = []
        while count > TRANSACTIONS_MAX or size > BYTES_MAX:
            if not tails or tails[0][0] >= entry.priority:
                raise ImmediatelyDroppedError("the pool is full; offer a tip or try again later")
            victim = heapq.heappop(tails)[2]
            victims.append(victim)
            count, size = count - 1, size - len(victim.extrinsic.raw)
            others = self._accounts[victim.account]
            queue = queues.setdefault(victim.account, sorted(others))
            queue.pop()
            if queue:
                heapq.heappush(tails, _in_order(others[queue[-1]]))
        return victims

    def _insert(self, entry: Entry) -> None:
        self._entries[entry.hash] = entry
        self._accounts.setdefault(entry.account, {})[entry.nonce] = entry
        self._bytes += len(entry.extrinsic.raw)
        self._wake()

    # ---------------------------------------------------------------------------- watching

    @asynccontextmanager
    async def watch(self, raw: bytes) -> AsyncIterator[trio.MemoryReceiveChannel[Status]]:
        """Submit a transaction and receive what becomes of it, until its end.

        Raises PoolError before the first status. The channel ends after a last status, or early
        for a watcher that lags.
        """
        entry = self._accept(self._new(raw))
        send, receive = trio.open_memory_channel[Status](WATCH_BACKLOG_MAX)
        entry.watchers.append(send)
        entry.tell("ready" if self._is_ready(entry) else "future")
        try:
            async with receive:
                yield receive
        finally:
            send.close()
            if send in entry.watchers:
                entry.watchers.remove(send)

    def _tell_ready(self, account: AccountId, nonce: int) -> None:
        """Tell watchers of the transactions from a nonce on that those are ready now."""
        own = self._accounts.get(account, {})
        while nonce in own:
            if not own[nonce].is_ready:
                own[nonce].tell("ready")
            nonce += 1

    # ----------------------------------------------------------------------------- queries

    def pending(self) -> list[bytes]:
        """Return the waiting extrinsics in order of arrival."""
        waiting = sorted(self._entries.values(), key=lambda entry: entry.arrival)
        return [entry.extrinsic.raw for entry in waiting]

    def next_nonce(self, account: AccountId) -> int:
        """Return the first nonce of an account that is used neither in state nor here."""
        nonce = self._state_nonce(account)
        own = self._accounts.get(account, {})
        while nonce in own:
            nonce += 1
        return nonce

    def candidates(self, limit: int) -> list[Extrinsic]:
        """Return ready transactions for a block: by priority, each account's by nonce."""
        heads: list[tuple[int, int, int, Entry]] = []
        for account, own in self._accounts.items():
            entry = own.get(self._state_nonce(account))
            if entry is not None:
                heapq.heappush(heads, (-entry.priority, entry.arrival, entry.nonce, entry))
        chosen: list[Extrinsic] = []
        while heads and len(chosen) < limit:
            entry = heapq.heappop(heads)[3]
            chosen.append(entry.extrinsic)
            follower = self._accounts[entry.account].get(entry.nonce + 1)
            if follower is not None:
                item = (-follower.priority, follower.arrival, follower.nonce, follower)
                heapq.heappush(heads, item)
        return chosen

    @property
    def has_ready(self) -> bool:
        """Whether a block could take a transaction now."""
        return any(self._state_nonce(account) in own for account, own in self._accounts.items())

    async def wait_changed(self) -> None:
        """Wait until a transaction enters."""
        await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _is_ready(self, entry: Entry) -> bool:
        own = self._accounts[entry.account]
        start = self._state_nonce(entry.account)
        return all(nonce in own for nonce in range(start, entry.nonce))

    def _state_nonce(self, account: AccountId) -> int:
        return self._chain.nonce(account)

    # ----------------------------------------------------------------------------- leaving

    def remove(self, found: Hash) -> bool:
        """Remove a transaction for good, by the operator."""
        entry = self._entries.get(found)
        if entry is None:
            return False
        self._bans.add(found)
        self._forget(entry, "dropped")
        return True

    def refuse(self, found: Hash, refusal: TransactionRefused) -> None:
        """Hear that the author could not include a transaction.

        It may have built on another block than the best one: what fits the best one stays.
        """
        entry = self._entries.get(found)
        if entry is None or isinstance(refusal.reason, ExhaustsResources | Future):
            return
        if isinstance(refusal.reason, Stale | BadProof | AncientBirthBlock) and self._fits(entry):
            return
        self._bans.add(found)
        self._forget(entry, "invalid")

    def _fits(self, entry: Entry) -> bool:
        try:
            self._chain.validate(entry.extrinsic)
        except TransactionRefused:
            return False
        return True

    # ---------------------------------------------------------------------- the chain moves

    def _hear(self, event: ChainEvent) -> None:
        if isinstance(event, BestChanged):
            self._move(event)
        elif isinstance(event, Finalized):
            self._settle(event.header.hash)

    def _move(self, event: BestChanged) -> None:
        """Follow the best branch: what left it waits again, what is in it waits no more."""
        loose: list[Entry] = []
        strangers: list[bytes] = []
        for lost in event.retracted:
            entries = self._included.pop(lost, (0, []))[1]
            for entry in entries:
                entry.block = None
                del self._in_blocks[entry.hash]
                entry.tell({"retracted": to_hex(lost)})
            loose += entries
            known = {entry.extrinsic.raw for entry in entries}
            strangers += [raw for raw in self._chain.body(lost) or () if raw not in known]
        touched = self._enact(event, {entry.hash: entry for entry in loose})
        for account in touched:
            self._drop_stale(account)
        self._drop_dead(event.header.number)
        if event.retracted:
            self._check_births()
        for entry in sorted(loose, key=lambda entry: entry.nonce):
            if entry.block is None:
                self._return(entry)
        self._return_strangers(strangers)
        self._give_up_waiting(event.header.number)
        self._wake()

    def _enact(self, event: BestChanged, loose: dict[Hash, Entry]) -> set[AccountId]:
        """Take out what blocks of the best branch include; returns whose nonces they used."""
        touched: set[AccountId] = set()
        first = event.header.number - len(event.enacted) + 1
        for number, block in enumerate(event.enacted, start=first):
            for raw in self._chain.body(block) or ():
                found = Hash(blake2b_256(raw))
                entry = self._entries.get(found)
                if entry is not None:
                    self._take_out(entry)
                else:
                    entry = loose.get(found)
                if entry is None:
                    touched |= self._signers(raw) if self._accounts else set()
                else:
                    self._include(entry, block, number)
                    touched.add(entry.account)
        return touched

    def _include(self, entry: Entry, block: Hash, number: int) -> None:
        entry.block = block
        self._in_blocks[entry.hash] = entry
        self._included.setdefault(block, (number, []))[1].append(entry)
        entry.tell({"inBlock": to_hex(block)})

    def _signers(self, raw: bytes) -> set[AccountId]:
        """Whose nonce an extrinsic that never waited here has used."""
        signed = self._chain.machine.extrinsics.decode(raw).signed
        return set() if signed is None or signed.account is None else {signed.account}

    def _drop_stale(self, account: AccountId) -> None:
        """Drop what the state's nonce has passed; what waited for that nonce is ready now."""
        nonce = self._state_nonce(account)
        for entry in list(self._accounts.get(account, {}).values()):
            if entry.nonce < nonce:
                self._forget(entry, "invalid")
        self._tell_ready(account, nonce)

    def _drop_dead(self, best: int) -> None:
        for entry in [entry for entry in self._entries.values() if entry.dies_at <= best]:
            self._forget(entry, "invalid")

    def _check_births(self) -> None:
        """Drop waiting mortal transactions whose birth block is not of the best branch."""
        births: dict[Era, Hash | None] = {}
        for entry in [entry for entry in self._entries.values() if entry.birth is not None]:
            signed = entry.extrinsic.signed
            assert signed is not None, "what has a birth block is signed"
            era = signed.extra.era
            if era not in births:
                births[era] = self._chain.birth(entry.extrinsic)
            if births[era] != entry.birth:
                self._forget(entry, "invalid")

    def _return(self, entry: Entry) -> None:
        """Take a transaction back: era, nonce and fee are judged by the branch that is best now."""
        try:
            self._check_new(entry.hash)
            returned = self._enter(entry.extrinsic)
        except PoolError as error:
            logger.info("transaction-lost transaction=%s reason=%r", to_hex(entry.hash), str(error))
            is_dropped = isinstance(error, ImmediatelyDroppedError)
            entry.tell("dropped" if is_dropped else "invalid", last=True)
            return
        returned.watchers = entry.watchers
        if returned.watchers:
            returned.tell("ready" if self._is_ready(returned) else "future")

    def _return_strangers(self, raws: list[bytes]) -> None:
        """Take in what only retracted blocks held; without them it might be lost for its sender."""
        for raw in raws[:RETURNED_STRANGERS_MAX]:
            found = Hash(blake2b_256(raw))
            extrinsic = self._chain.machine.extrinsics.decode(raw)
            if extrinsic.signed is None or found in self._entries or found in self._in_blocks:
                continue
            try:
                self._enter(extrinsic)
            except PoolError as error:
                logger.debug("transaction-lost transaction=%s reason=%r", to_hex(found), str(error))

    def _give_up_waiting(self, best: int) -> None:
        """Tell watchers of blocks far below the best one that finality does not come."""
        for block, (number, entries) in self._included.items():
            if best - number < FINALITY_BLOCKS_MAX:
                break
            for entry in entries:
                entry.tell({"finalityTimeout": to_hex(block)}, last=True)

    def _settle(self, block: Hash) -> None:
        for entry in self._included.pop(block, (0, []))[1]:
            del self._in_blocks[entry.hash]
            entry.tell({"finalized": to_hex(block)}, last=True)

    def _take_out(self, entry: Entry) -> None:
        del self._entries[entry.hash]
        own = self._accounts[entry.account]
        del own[entry.nonce]
        if not own:
            del self._accounts[entry.account]
        self._bytes -= len(entry.extrinsic.raw)

    def _forget(self, entry: Entry, status: Status) -> None:
        self._take_out(entry)
        entry.tell(status, last=True)


def _in_order(entry: Entry) -> tuple[int, int, Entry]:
    """The order of eviction: the cheapest first, the newest of them first."""
    return entry.priority, -entry.arrival, entry
