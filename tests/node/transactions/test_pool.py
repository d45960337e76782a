"""The pool: a state machine against a model, every refusal, floods."""

from __future__ import annotations

import random
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from node.authoring.author import Author
from node.chain.chain import Chain
from node.operations.config import Sealing
from node.rpc.transaction_status import rejection
from node.storage.database import Database
from node.transactions import errors as pool_errors
from node.transactions import queues
from node.transactions.errors import (
    BAN_SECONDS,
    AlreadyImportedError,
    BadFormatError,
    ImmediatelyDroppedError,
    InvalidTransactionError,
    PoolError,
    PriorityTooLowError,
    TemporarilyBannedError,
    UnknownValidityError,
)
from node.transactions.pool import Pool
from runtime.crypto.keys import Keypair
from runtime.frame.extrinsic import EXTRINSIC_SIZE_MAX
from runtime.frame.state import Overlay
from runtime.types.primitives import OPEN, AccountId
from tests.node.support.small_node import (
    ALICE,
    BOB,
    CHARLIE,
    DAVE,
    EVE,
    SmallNode,
    composed,
    dev_spec,
)
from tests.node.transactions.support.pool_scenarios import drive

FAR = 2_048


# ----------------------------------------------------------------------------- a model as oracle


@dataclass
class Waiting:
    """A transaction of the model."""

    raw: bytes
    tip: int
    arrival: int


class PoolAgainstModel(RuleBasedStateMachine):
    """A small pool of three accounts against dictionaries of nonces."""

    LIMIT, OWN_LIMIT = 8, 4
    PAIRS = (ALICE, CHARLIE, DAVE)

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.database = Database.open(Path(self.folder.name))
        self.chain = Chain(dev_spec(), self.database)
        self.now = 0.0
        self.pool = Pool(self.chain, lambda: self.now)
        self.node = SmallNode(self.chain, self.pool, Author(self.chain, self.pool, Sealing.MANUAL))
        self.nonces = [0, 0, 0]
        self.waiting: list[dict[int, Waiting]] = [{}, {}, {}]
        self.banned: dict[bytes, float] = {}
        self.arrivals = 0

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    @rule(who=st.integers(0, 2), ahead=st.integers(-1, 5), tip=st.integers(0, 3))
    def submit(self, who: int, ahead: int, tip: int) -> None:
        nonce = self.nonces[who] + ahead
        if nonce < 0:
            return
        raw = self.node.sign(self.PAIRS[who], nonce, tip * OPEN)
        expected = self.predict(raw, who, nonce, tip)
        if isinstance(expected, type):
            with pytest.raises(expected):
                self.pool.submit(raw)
            if expected is InvalidTransactionError:
                self.banned[raw] = self.now + BAN_SECONDS
            return
        self.pool.submit(raw)
        for victim, number in expected:
            del self.waiting[victim][number]
        self.arrivals += 1
        self.waiting[who][nonce] = Waiting(raw, tip, self.arrivals)

    def predict(self, raw: bytes, who: int, nonce: int, tip: int) -> Any:
        """The error that the model expects, or what has to go."""
        own = self.waiting[who]
        if any(raw == each.raw for each in own.values()):
            return AlreadyImportedError
        if self.banned.get(raw, 0.0) > self.now:
            return TemporarilyBannedError
        if nonce < self.nonces[who]:
            return InvalidTransactionError
        if nonce in own:
            return [] if tip > own[nonce].tip else PriorityTooLowError
        if len(own) >= self.OWN_LIMIT:
            return ImmediatelyDroppedError
        if sum(map(len, self.waiting)) < self.LIMIT:
            return []
        tails = [
            (each[max(each)].tip, -each[max(each)].arrival, other, max(each))
            for other, each in enumerate(self.waiting)
            if each and other != who
        ]
        if not tails or min(tails)[0] >= tip:
            return ImmediatelyDroppedError
        return [min(tails)[2:]]

    @rule(who=st.integers(0, 2))
    def remove(self, who: int) -> None:
        if self.waiting[who]:
            nonce = min(self.waiting[who])
            gone = self.waiting[who].pop(nonce)
            found = self.node.decode(gone.raw)[0].hash
            assert self.pool.remove(found)
            assert not self.pool.remove(found)
            self.banned[gone.raw] = self.now + BAN_SECONDS

    @rule(seconds=st.sampled_from([1.0, BAN_SECONDS / 2, BAN_SECONDS]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def seal(self) -> None:
        expected = self.ready()
        executed = trio.run(self.node.author.seal)
        assert list(executed.extrinsics[1:]) == expected
        for who, own in enumerate(self.waiting):
            while self.nonces[who] in own:
                del own[self.nonces[who]]
                self.nonces[who] += 1

    def ready(self) -> list[bytes]:
        """By tip, then arrival; each account by nonce."""
        at = list(self.nonces)
        order: list[bytes] = []
        while True:
            heads = [
                (-own[at[who]].tip, own[at[who]].arrival, who)
                for who, own in enumerate(self.waiting)
                if at[who] in own
            ]
            if not heads:
                return order
            who = min(heads)[2]
            order.append(self.waiting[who][at[who]].raw)
            at[who] += 1

    @invariant()
    def the_pool_is_the_model(self) -> None:
        every = [each for own in self.waiting for each in own.values()]
        assert self.pool.pending() == [
            each.raw for each in sorted(every, key=lambda each: each.arrival)
        ]
        assert len(self.pool) == len(every)
        assert self.pool.size_bytes == sum(len(each.raw) for each in every)
        assert self.pool.has_ready == bool(self.ready())
        assert [each.raw for each in self.pool.candidates(99)] == self.ready()
        for who, pair in enumerate(self.PAIRS):
            nonce = self.nonces[who]
            while nonce in self.waiting[who]:
                nonce += 1
            assert self.pool.next_nonce(AccountId(pair.account)) == nonce


def test_the_pool_behaves_like_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.chain.chain.compose", composed)
    monkeypatch.setattr(queues, "TRANSACTIONS_MAX", PoolAgainstModel.LIMIT)
    monkeypatch.setattr(queues, "PER_ACCOUNT_MAX", PoolAgainstModel.OWN_LIMIT)
    run_state_machine_as_test(
        PoolAgainstModel, settings=settings(max_examples=25, stateful_step_count=30)
    )


def test_a_submission_enters_the_machine_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(node: SmallNode) -> None:
        node.pool.submit(node.sign(EVE))  # sets the state of the next block up
        entries: list[object] = []
        machine, on = node.chain.machine, node.chain.machine.on

        def counted(overlay: Overlay) -> AbstractContextManager[None]:
            entries.append(overlay)
            return on(overlay)

        monkeypatch.setattr(machine, "on", counted)
        for nonce in (1, 0, 2):
            entries.clear()
            node.pool.submit(node.sign(nonce=nonce))
            assert len(entries) == 1
        entries.clear()
        assert len(node.pool.candidates(9)) == 4
        assert node.pool.has_ready
        assert not entries

    drive(tmp_path, scenario)


# ------------------------------------------------------------------------------------- refusals


def test_every_refusal_has_its_code_and_leaves_the_pool_as_it_was(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        await node.author.seal()
        raw = node.sign()
        node.pool.submit(raw)
        poor = Keypair.from_uri("//Poor")
        zero = node.sign(EVE, 0).replace(EVE.account, bytes(32), 1)
        at = raw.index(ALICE.account)
        refused: list[tuple[bytes, type[PoolError], int, str]] = [
            (raw, AlreadyImportedError, 1013, raw_hash(node, raw)),
            (node.sign(nonce=0, value=9), PriorityTooLowError, 1014, ">="),
            (b"", BadFormatError, 1001, "empty"),
            (bytes(EXTRINSIC_SIZE_MAX + 1), BadFormatError, 1001, "at most"),
            (node.sign(poor, 0), InvalidTransactionError, 1010, "Inability to pay"),
            (raw[:-1] + b"\7", InvalidTransactionError, 1010, "bad signature"),
            (node.sign(EVE, FAR + 1), ImmediatelyDroppedError, 1016, "too far ahead"),
            (zero, InvalidTransactionError, 1010, "Invalid signing address"),
            (raw[: at - 1] + b"\3" + raw[at:], UnknownValidityError, 1011, "lookup"),
            (node.sign(EVE, 0, size=3_900_000), InvalidTransactionError, 1010, "exhaust"),
            (
                node.chain.body(node.chain.best.hash)[0],  # type: ignore[index]
                InvalidTransactionError,
                1010,
                "mandatory",
            ),
        ]
        for bad, kind, code, words in refused:
            with pytest.raises(kind) as error:
                node.pool.submit(bad)
            assert rejection(error.value).number == code
            assert words in error.value.detail
            assert str(error.value).startswith(error.value.message)
        assert node.pool.pending() == [raw]

    drive(tmp_path, scenario)


def raw_hash(node: SmallNode, raw: bytes) -> str:
    return "0x" + node.decode(raw)[0].hash.hex()


def test_an_invalid_transaction_is_banned_for_a_while(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        now = 0.0
        pool = Pool(node.chain, lambda: now)
        bad = node.sign(nonce=0)[:-1] + b"\7"
        with pytest.raises(InvalidTransactionError):
            pool.submit(bad)
        now = BAN_SECONDS - 1
        with pytest.raises(TemporarilyBannedError) as error:
            pool.submit(bad)
        assert rejection(error.value).number == 1012
        now = BAN_SECONDS
        with pytest.raises(InvalidTransactionError):
            pool.submit(bad)

    drive(tmp_path, scenario)


def test_who_cannot_pay_yet_is_not_banned(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        poor = Keypair.from_uri("//Poor")
        for _ in range(2):
            with pytest.raises(InvalidTransactionError, match="Inability"):
                node.pool.submit(node.sign(poor, 0))

    drive(tmp_path, scenario)


def test_an_executors_call_that_comes_too_early_is_not_banned(tmp_path: Path) -> None:
    """A peer may hear of a commitment before the block that assigned the job."""

    async def scenario(node: SmallNode) -> None:
        call = node.chain.machine.call("Jobs", "decline", job=0, attempt=0)
        for _ in range(2):
            with pytest.raises(InvalidTransactionError, match="no job of this number"):
                node.pool.submit(node.sign_call(call))

    drive(tmp_path, scenario)


# ---------------------------------------------------------------------------------------- floods


def test_ten_thousand_pieces_of_garbage_leave_nothing_behind(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        source, good = random.Random(3), node.sign()
        for number in range(10_000):
            raw = bytearray(source.randbytes(source.randrange(200)))
            if number % 2:
                raw = bytearray(good)
                raw[source.randrange(len(raw))] ^= 1 << source.randrange(8)
            with pytest.raises(PoolError):
                node.pool.submit(bytes(raw))
        assert len(node.pool) == node.pool.size_bytes == 0
        assert len(node.pool._bans) <= pool_errors.BANNED_MAX
        assert node.pool.submit(good)

    drive(tmp_path, scenario)


def test_bans_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_errors, "BANNED_MAX", 3)

    async def scenario(node: SmallNode) -> None:
        good = node.sign()
        for number in range(9):
            with pytest.raises(InvalidTransactionError):
                node.pool.submit(good[:-1] + bytes((number + 1,)))
        assert len(node.pool._bans) == 3

    drive(tmp_path, scenario)


def test_one_account_cannot_fill_the_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "PER_ACCOUNT_MAX", 50)

    async def scenario(node: SmallNode) -> None:
        for nonce in range(50):
            node.pool.submit(node.sign(nonce=nonce))
        with pytest.raises(ImmediatelyDroppedError, match="of this account"):
            node.pool.submit(node.sign(nonce=50, tip=10 * OPEN))
        node.pool.submit(node.sign(nonce=0, tip=OPEN))
        node.pool.submit(node.sign(EVE, 0))
        assert len(node.pool) == 51

    drive(tmp_path, scenario)


def test_a_full_pool_keeps_the_better_tips_and_stays_as_it_was_on_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(node: SmallNode) -> None:
        raws = [
            node.sign(pair, 0, tip * OPEN, size=100)
            for pair, tip in ((ALICE, 1), (BOB, 3), (CHARLIE, 2))
        ]
        for raw in raws:
            node.pool.submit(raw)
        monkeypatch.setattr(queues, "BYTES_MAX", node.pool.size_bytes)
        before = node.pool.pending()
        with pytest.raises(ImmediatelyDroppedError, match="full"):
            node.pool.submit(node.sign(DAVE, 0, 2 * OPEN + 1, size=250))
        assert node.pool.pending() == before
        node.pool.submit(node.sign(DAVE, 0, 4 * OPEN, size=250))
        assert len(node.pool) == 1 or raws[1] in node.pool.pending()
        assert raws[0] not in node.pool.pending()

    drive(tmp_path, scenario)


def test_a_replacement_counts_by_its_own_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(node: SmallNode) -> None:
        node.pool.submit(node.sign(EVE, 0, 9 * OPEN))
        node.pool.submit(node.sign(nonce=0))
        monkeypatch.setattr(queues, "BYTES_MAX", node.pool.size_bytes + 10)
        with pytest.raises(ImmediatelyDroppedError):
            node.pool.submit(node.sign(nonce=0, tip=OPEN, size=10_000))
        assert node.pool.size_bytes <= queues.BYTES_MAX
        assert len(node.pool) == 2

    drive(tmp_path, scenario)
