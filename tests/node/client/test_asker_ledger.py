"""The asker's books: no server's word decides what an asker signs for."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from node.client.asker_ledger import (
    AskerLedger,
    LedgerBusyError,
    LedgerDamagedError,
    Promise,
    ReceiptDisputedError,
)
from runtime.shared.receipts import Receipt, receipt_hash
from runtime.types.primitives import AccountId, Hash
from tests.node.storage.test_receipt_store import stored

GENESIS, ASKER, SERVER = Hash(b"g" * 32), AccountId(b"a" * 32), AccountId(b"s" * 32)
CHANNEL, MODEL, PRICE = 7, 3, 100
QUESTION = Hash(b"q" * 32)
PROMISE = Promise(QUESTION, PRICE, epoch=2)


def ledger_in(folder: Path) -> AskerLedger:
    return AskerLedger(folder, GENESIS, ASKER)


@pytest.fixture
def ledger(tmp_path: Path) -> AskerLedger:
    made = ledger_in(tmp_path)
    made.begin(CHANNEL, SERVER, MODEL)
    return made


def receipt(fee: int = 60, **changed: object) -> Receipt:
    right = {
        "channel": CHANNEL,
        "model": MODEL,
        "server": SERVER,
        "asker": ASKER,
        "question": QUESTION,
        "fee_planck": fee,
    }
    return replace(stored(0).signed.receipt, **{**right, **changed})  # type: ignore[arg-type]


def test_what_is_promised_and_spent_is_on_disk_for_its_owner_alone(
    ledger: AskerLedger, tmp_path: Path
) -> None:
    assert ledger.promise(CHANNEL, PROMISE, redeemed_planck=0) == PRICE
    again = ledger_in(tmp_path).get(CHANNEL)
    assert again is not None
    assert again.promise == PROMISE
    ledger.settle(CHANNEL, receipt(60))
    book = ledger_in(tmp_path).get(CHANNEL)
    assert book is not None
    assert (book.spent_planck, book.promise) == (60, None)
    assert ledger.promise(CHANNEL, PROMISE, redeemed_planck=0) == 60 + PRICE
    (file,) = (tmp_path / "channels").glob("*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


FALSE = {
    "above the promise": receipt(PRICE + 1),
    "another channel": receipt(channel=8),
    "another model": receipt(model=4),
    "another server": receipt(server=AccountId(b"x" * 32)),
    "another asker": receipt(asker=AccountId(b"x" * 32)),
    "another question": receipt(question=Hash(b"x" * 32)),
}


@pytest.mark.parametrize("case", FALSE)
def test_a_receipt_that_was_not_promised_costs_nothing(ledger: AskerLedger, case: str) -> None:
    ledger.promise(CHANNEL, PROMISE, redeemed_planck=0)
    with pytest.raises(ReceiptDisputedError):
        ledger.settle(CHANNEL, FALSE[case])
    book = ledger.get(CHANNEL)
    assert book is not None
    assert (book.spent_planck, book.promise) == (0, PROMISE)


def test_a_receipt_counts_once_and_only_for_an_open_promise(ledger: AskerLedger) -> None:
    with pytest.raises(ReceiptDisputedError, match="no answer is open"):
        ledger.settle(CHANNEL, receipt())
    ledger.promise(CHANNEL, PROMISE, redeemed_planck=0)
    ledger.settle(CHANNEL, receipt())
    ledger.promise(CHANNEL, PROMISE, redeemed_planck=0)
    with pytest.raises(ReceiptDisputedError, match="counted already"):
        ledger.settle(CHANNEL, receipt())
    ledger.settle(CHANNEL, receipt(sequence=1))


def test_a_promise_without_a_receipt_is_dropped_and_costs_nothing(ledger: AskerLedger) -> None:
    ledger.promise(CHANNEL, PROMISE, redeemed_planck=0)
    ledger.drop_promise(CHANNEL)
    assert ledger.promise(CHANNEL, PROMISE, redeemed_planck=0) == PRICE


def test_what_was_redeemed_on_chain_is_spent(ledger: AskerLedger) -> None:
    assert ledger.promise(CHANNEL, PROMISE, redeemed_planck=90) == 90 + PRICE
    ledger.settle(CHANNEL, receipt(60))
    book = ledger.get(CHANNEL)
    assert book is not None
    assert book.spent_planck == 150


def test_one_command_has_the_books_at_a_time(ledger: AskerLedger, tmp_path: Path) -> None:
    other = ledger_in(tmp_path)
    with ledger.held():
        ledger.begin(8, SERVER, MODEL)
        with pytest.raises(LedgerBusyError), other.held():
            pass
    with other.held():
        assert other.get(8) is not None, "the books are read again"


@given(st.binary(max_size=300) | st.sampled_from([b"[]", b'{"7": 1}', b'{"x": {}}', b"null"]))
def test_books_that_cannot_be_read_are_an_error_and_stay(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("books")
    ledger_in(folder).begin(CHANNEL, SERVER, MODEL)
    (file,) = (folder / "channels").glob("*.json")
    file.write_bytes(data)
    if data.strip() == b"{}":
        return
    with pytest.raises(LedgerDamagedError):
        ledger_in(folder)
    assert file.read_bytes() == data


class LifeOfAChannel(RuleBasedStateMachine):
    """Whatever a server sends, an asker signs for its verified fees and one price, and no more."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.ledger = ledger_in(Path(self.folder.name))
        self.ledger.begin(CHANNEL, SERVER, MODEL)
        self.owed = 0
        self.open: Promise | None = None
        self.answers = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(price=st.integers(1, 100))
    def ask(self, price: int) -> None:
        if self.open is None:
            self.answers += 1
            self.open = Promise(Hash(self.answers.to_bytes(32, "big")), price, 0)
            assert self.ledger.promise(CHANNEL, self.open, 0) == self.owed + price

    @rule(fee=st.integers(0, 200), is_own=st.booleans(), sequence=st.integers(0, 3))
    def hear(self, fee: int, is_own: bool, sequence: int) -> None:
        question = self.open.question if self.open and is_own else QUESTION
        heard = receipt(fee, question=question, sequence=sequence)
        is_due = self.open is not None and is_own and fee <= self.open.price_planck
        try:
            self.ledger.settle(CHANNEL, heard)
        except ReceiptDisputedError:
            assert not is_due
        else:
            assert is_due
            self.owed, self.open = self.owed + fee, None

    @rule()
    def drop(self) -> None:
        if self.open is not None:
            self.ledger.drop_promise(CHANNEL)
            self.open = None

    @rule()
    def restart(self) -> None:
        self.ledger = ledger_in(Path(self.folder.name))

    @invariant()
    def spent_is_what_was_verified(self) -> None:
        book = self.ledger.get(CHANNEL)
        assert book is not None
        assert (book.spent_planck, book.promise) == (self.owed, self.open)
        assert len(set(book.receipts)) == len(book.receipts)


LifeOfAChannel.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
test_random_lives_of_a_channel = LifeOfAChannel.TestCase


def test_receipts_are_remembered_by_their_hash(ledger: AskerLedger) -> None:
    ledger.promise(CHANNEL, PROMISE, redeemed_planck=0)
    ledger.settle(CHANNEL, receipt())
    book = ledger.get(CHANNEL)
    assert book is not None
    assert book.receipts == (receipt_hash(receipt()),)
