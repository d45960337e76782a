"""The asker's books: no server's word decides what an asker signs for."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from node.client.asker_ledger import (
    SALTS_REMEMBERED,
    AskerLedger,
    ChannelBook,
    ChannelDisputedError,
    LedgerBusyError,
    LedgerDamagedError,
    LedgerFormerError,
    Promise,
    ReceiptDisputedError,
    ReceivedAnswer,
    is_false,
    salt_of,
)
from runtime.crypto.keys import Keypair
from runtime.shared.receipts import SignedReceipt, receipt_hash
from runtime.types.primitives import AccountId, Hash
from tests.node.support.paid_answers import (
    ASKER,
    CHANNEL,
    GENESIS,
    MODEL,
    RATES,
    SALT,
    SERVER_ACCOUNT,
    receipt_for,
    signed,
    voucher,
)

PROMISE = Promise(signed(voucher()), SALT, tokens_in_max=4, tokens_out_max=100)
FEE = RATES.fee(4, 5)


def promise(sequence: int, before: int, price: int = 110) -> Promise:
    made = voucher(sequence=sequence, before_planck=before, limit_planck=before + price)
    return Promise(signed(made), bytes([sequence % 256]) * 32, 4, 100)


def ledger_in(folder: Path) -> AskerLedger:
    return AskerLedger(folder, GENESIS, AccountId(ASKER.account))


def book_of(ledger: AskerLedger) -> ChannelBook:
    book = ledger.get(CHANNEL)
    assert book is not None
    return book


@pytest.fixture
def ledger(tmp_path: Path) -> AskerLedger:
    made = ledger_in(tmp_path)
    made.begin(CHANNEL, SERVER_ACCOUNT, MODEL)
    return made


def test_what_is_promised_and_spent_is_on_disk_for_its_owner_alone(
    ledger: AskerLedger, tmp_path: Path
) -> None:
    ledger.promise(CHANNEL, PROMISE)
    assert book_of(ledger_in(tmp_path)).promise == PROMISE
    made = receipt_for(PROMISE.signed)
    ledger.settle(CHANNEL, made)
    book = book_of(ledger_in(tmp_path))
    assert (book.spent_planck, book.sequence, book.promise, book.last) == (FEE, 1, None, made)
    (file,) = (tmp_path / "channels").glob("*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


FALSE: dict[str, SignedReceipt] = {
    "another voucher": receipt_for(signed(voucher(limit_planck=111))),
    "another server": receipt_for(PROMISE.signed, pair=Keypair.from_uri("//Eve")),
    "a signature of nobody": replace(receipt_for(PROMISE.signed), signature=bytes(64)),
    "more than was promised": receipt_for(PROMISE.signed, tokens_out=101),
    "a fee that its tokens do not give": receipt_for(PROMISE.signed, fee_planck=FEE + 1),
    "other evidence": receipt_for(PROMISE.signed, evidence=Hash(bytes(32))),
    "another version": receipt_for(PROMISE.signed, version=1),
    "more tokens than the question has": receipt_for(PROMISE.signed, tokens_in=5),
}


@pytest.mark.parametrize("case", FALSE)
def test_a_receipt_that_was_not_promised_costs_nothing(ledger: AskerLedger, case: str) -> None:
    ledger.promise(CHANNEL, PROMISE)
    with pytest.raises(ReceiptDisputedError):
        ledger.settle(CHANNEL, FALSE[case])
    book = book_of(ledger)
    assert (book.spent_planck, book.promise) == (0, PROMISE)
    assert book.disputed == FALSE[case]
    is_evidence = case == "a fee that its tokens do not give"
    assert is_false(FALSE[case]) is is_evidence, "only what the chain can convict by"


RECEIVED = receipt_for(PROMISE.signed)
ANSWERED = ReceivedAnswer(receipt_hash(RECEIVED.receipt), 4, 5, RECEIVED.receipt.answer)
OTHERS = {
    "another text": replace(ANSWERED, answer=Hash(bytes(32))),
    "other tokens": replace(ANSWERED, tokens_out=4),
    "another receipt": replace(ANSWERED, receipt=Hash(bytes(32))),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_receipt_is_held_against_what_came_also_after_a_kill(
    ledger: AskerLedger, tmp_path: Path, case: str
) -> None:
    ledger.promise(CHANNEL, PROMISE)
    ledger.receive(CHANNEL, OTHERS[case], 4, 100)
    again = ledger_in(tmp_path)
    with pytest.raises(ReceiptDisputedError):
        again.settle(CHANNEL, RECEIVED)
    assert book_of(again).spent_planck == 0


def test_the_texts_bound_what_a_receipt_may_count(ledger: AskerLedger) -> None:
    ledger.promise(CHANNEL, PROMISE)
    ledger.receive(CHANNEL, ANSWERED, tokens_in_max=99, tokens_out_max=4)
    promised = book_of(ledger).promise
    assert promised is not None
    assert (promised.tokens_in_max, promised.tokens_out_max) == (4, 4)
    with pytest.raises(ReceiptDisputedError, match="than the answer can have"):
        ledger.settle(CHANNEL, RECEIVED)


def test_a_refused_receipt_is_never_paid_later(ledger: AskerLedger, tmp_path: Path) -> None:
    other = ledger_in(tmp_path)
    ledger.promise(CHANNEL, PROMISE)
    with pytest.raises(ReceiptDisputedError):
        ledger.settle(CHANNEL, RECEIVED, "its adapter is not the model's")
    recovered = ChannelBook(SERVER_ACCOUNT, MODEL, RECEIVED.ends_planck, 1, last=RECEIVED)
    with other.held():  # a second process, or this one after a kill
        with pytest.raises(ChannelDisputedError, match="another channel"):
            other.settle(CHANNEL, RECEIVED)
        with pytest.raises(ChannelDisputedError):
            other.promise(CHANNEL, promise(2, FEE))
        with pytest.raises(ChannelDisputedError):
            other.recover(CHANNEL, recovered)
        assert (book_of(other).spent_planck, book_of(other).disputed) == (0, RECEIVED)


def test_a_receipt_counts_once_and_only_for_an_open_promise(ledger: AskerLedger) -> None:
    made = receipt_for(PROMISE.signed)
    ledger.promise(CHANNEL, PROMISE)
    ledger.settle(CHANNEL, made)
    with pytest.raises(AssertionError):
        ledger.settle(CHANNEL, made)
    ledger.promise(CHANNEL, promise(2, FEE))
    with pytest.raises(ReceiptDisputedError, match="another voucher"):
        ledger.settle(CHANNEL, made)
    assert book_of(ledger).spent_planck == FEE


def test_a_number_is_never_promised_twice_nor_what_is_spent(ledger: AskerLedger) -> None:
    ledger.promise(CHANNEL, PROMISE)
    ledger.settle(CHANNEL, receipt_for(PROMISE.signed))
    for wrong in (promise(1, FEE), promise(2, FEE - 1)):
        with pytest.raises(AssertionError):
            ledger.promise(CHANNEL, wrong)


def test_a_promise_without_a_receipt_is_dropped_and_costs_nothing(ledger: AskerLedger) -> None:
    ledger.promise(CHANNEL, PROMISE)
    ledger.drop_promise(CHANNEL)
    ledger.promise(CHANNEL, promise(2, 0))
    assert book_of(ledger).spent_planck == 0


def test_what_was_redeemed_on_chain_is_spent(ledger: AskerLedger) -> None:
    ledger.promise(CHANNEL, promise(5, 90))
    assert book_of(ledger).spent_planck == 90
    ledger.settle(CHANNEL, receipt_for(promise(5, 90).signed))
    assert book_of(ledger).spent_planck == 90 + FEE


def test_salts_are_found_by_their_receipt_and_the_latest_are_remembered(
    ledger: AskerLedger, tmp_path: Path
) -> None:
    hashes: list[Hash] = []
    for number in range(1, SALTS_REMEMBERED + 3):
        made = promise(number, (number - 1) * FEE)
        ledger.promise(CHANNEL, made)
        answered = receipt_for(made.signed)
        ledger.settle(CHANNEL, answered)
        hashes.append(receipt_hash(answered.receipt))
    assert len(book_of(ledger_in(tmp_path)).salts) == SALTS_REMEMBERED
    assert salt_of(tmp_path, GENESIS, hashes[-1]) == promise(len(hashes), 0).salt
    assert salt_of(tmp_path, GENESIS, hashes[0]) is None
    assert salt_of(tmp_path, Hash(bytes(32)), hashes[-1]) is None, "of another chain"


def test_whether_questions_may_be_drawn_is_remembered(ledger: AskerLedger, tmp_path: Path) -> None:
    assert not ledger.may_draw
    ledger.remember_may_draw(True)
    again = ledger_in(tmp_path)
    assert (again.may_draw, again.get(CHANNEL)) == (True, ledger.get(CHANNEL))


def test_a_lost_book_is_begun_again_and_one_that_is_there_only_rises(
    ledger: AskerLedger, tmp_path: Path
) -> None:
    last = receipt_for(signed(voucher(sequence=4, before_planck=60, limit_planck=170)))
    found = ChannelBook(SERVER_ACCOUNT, MODEL, 60 + FEE, 4, last=last)
    fresh = AskerLedger(tmp_path / "other", GENESIS, AccountId(ASKER.account))
    assert fresh.recover(CHANNEL, found) == found
    fresh.promise(CHANNEL, promise(5, 60 + FEE))
    ledger.promise(CHANNEL, promise(3, 50))
    book = ledger.recover(CHANNEL, found)
    assert (book.spent_planck, book.sequence, book.last) == (60 + FEE, 4, last)
    assert book.promise == promise(3, 50), "what was promised stays open"


def test_the_receipt_of_an_open_promise_is_not_counted_by_a_recovery(ledger: AskerLedger) -> None:
    ledger.promise(CHANNEL, PROMISE)
    found = ChannelBook(SERVER_ACCOUNT, MODEL, FEE, 1, last=RECEIVED)
    book = ledger.recover(CHANNEL, found)
    assert (book.spent_planck, book.promise, book.last) == (0, PROMISE, None)


def test_one_command_has_the_books_at_a_time(ledger: AskerLedger, tmp_path: Path) -> None:
    other = ledger_in(tmp_path)
    with ledger.held():
        ledger.begin(8, SERVER_ACCOUNT, MODEL)
        with pytest.raises(LedgerBusyError), other.held():
            pass
    with other.held():
        assert other.get(8) is not None, "the books are read again"


@given(
    st.binary(max_size=300)
    | st.sampled_from(
        [b"[]", b'{"7": 1}', b'{"version": 4}', b"null", b'{"version": 3, "channels": []}']
    )
)
def test_books_that_cannot_be_read_are_an_error_and_stay(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("books")
    ledger_in(folder).begin(CHANNEL, SERVER_ACCOUNT, MODEL)
    (file,) = (folder / "channels").glob("*.json")
    file.write_bytes(data)
    with pytest.raises((LedgerDamagedError, LedgerFormerError), match="channel recover"):
        ledger_in(folder)
    assert file.read_bytes() == data


@pytest.mark.parametrize(
    "former",
    [
        {"7": {"server": "0x", "model": 3, "spent_planck": "5", "promise": None}},
        {"version": 2, "may_draw": False, "channels": {}},
    ],
)
def test_books_of_a_former_version_are_named_with_the_way_out(
    tmp_path: Path, former: dict[str, Any]
) -> None:
    ledger_in(tmp_path).begin(CHANNEL, SERVER_ACCOUNT, MODEL)
    (file,) = (tmp_path / "channels").glob("*.json")
    file.write_text(json.dumps(former))
    with pytest.raises(LedgerFormerError, match=str(file)):
        ledger_in(tmp_path)


class LifeOfAChannel(RuleBasedStateMachine):
    """Whatever a server sends, an asker signs for its verified fees and one price, and no more."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.ledger = ledger_in(Path(self.folder.name))
        self.ledger.begin(CHANNEL, SERVER_ACCOUNT, MODEL)
        self.owed = 0
        self.open: Promise | None = None
        self.sequence = 0
        self.is_disputed = False

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(price=st.integers(15, 100), gap=st.integers(1, 3))
    def ask(self, price: int, gap: int) -> None:
        if self.open is not None:
            return
        made = promise(self.sequence + gap, self.owed, price)
        if self.is_disputed:
            with pytest.raises(ChannelDisputedError):
                self.ledger.promise(CHANNEL, made)
            return
        self.sequence, self.open = self.sequence + gap, made
        self.ledger.promise(CHANNEL, made)

    @rule(
        tokens=st.integers(0, 120),
        surcharge=st.sampled_from([0, 0, 0, 1]),
        is_own=st.booleans(),
    )
    def hear(self, tokens: int, surcharge: int, is_own: bool) -> None:
        if self.open is None:
            return
        asked = self.open if is_own else promise(250, self.owed)
        fee = RATES.fee(4, tokens) + surcharge
        heard = receipt_for(asked.signed, tokens, fee_planck=fee)
        price = asked.signed.voucher.price_planck
        is_due = asked is self.open and not surcharge and fee <= price and not self.is_disputed
        try:
            self.ledger.settle(CHANNEL, heard)
        except (ReceiptDisputedError, ChannelDisputedError):
            assert not is_due
            self.is_disputed = True
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
        book = book_of(self.ledger)
        assert (book.spent_planck, book.promise) == (self.owed, self.open)
        assert book.sequence == self.sequence


LifeOfAChannel.TestCase.settings = settings(max_examples=30, stateful_step_count=30)
test_random_lives_of_a_channel = LifeOfAChannel.TestCase
