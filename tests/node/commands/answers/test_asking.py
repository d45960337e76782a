"""Asking: the asker signs by its own books, checks what it gets, and keeps what convicts a liar."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import node.client
from node.client.asker_ledger import AskerLedger, ChannelBook
from node.client.token_counts import tokens_in_at_most
from runtime.shared.receipts import VOUCHER_BLOCKS_MAX, salted_hash
from runtime.types.primitives import AccountId, Hash
from tests.node.commands.support.answering import TEXT, AnsweringClient
from tests.node.commands.support.calling import Called, OpenLedger
from tests.node.support.paid_answers import (
    ASKER,
    CHANNEL,
    GENESIS,
    HASH,
    MODEL,
    RATES,
    SERVER_ACCOUNT,
    open_channel,
)

FEE = RATES.fee(4, 5)
PRICE = RATES.fee(tokens_in_at_most("why?"), 16)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> AnsweringClient:
    made = AnsweringClient()
    monkeypatch.setattr(node.client, "Client", made)
    return made


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    ledger_in(folder).begin(CHANNEL, SERVER_ACCOUNT, MODEL)
    return folder


def ledger_in(folder: Path) -> AskerLedger:
    return AskerLedger(folder, GENESIS, AccountId(ASKER.account))


def book_in(folder: Path) -> ChannelBook:
    book = ledger_in(folder).get(CHANNEL)
    assert book is not None
    return book


def ask(keys: Path, *words: str) -> Called:
    openledger = OpenLedger("ws://nowhere:1", keys)
    return openledger("ask", "3", "why?", "--from", "//Asker", "--max-tokens", "16", *words)


def test_each_answer_is_signed_for_alone_where_the_last_one_ended(
    client: AnsweringClient, keys: Path
) -> None:
    for number in range(3):
        assert ask(keys).exit_code == 0
        voucher = client.asked[-1].voucher
        assert (voucher.sequence, voucher.before_planck) == (number + 1, number * FEE)
        assert voucher.limit_planck == number * FEE + PRICE
        assert (voucher.rates, voucher.expires_at) == (RATES, 50 + VOUCHER_BLOCKS_MAX)
        assert voucher.question == salted_hash(client.salts[-1], "why?")
        assert not voucher.may_draw
    assert len(set(client.salts)) == 3, "a new salt for each question"
    assert book_in(keys).spent_planck == 3 * FEE


def test_a_question_that_is_no_unicode_text_is_refused_before_anything_is_signed(
    client: AnsweringClient, keys: Path
) -> None:
    openledger = OpenLedger("ws://nowhere:1", keys)
    called = openledger("ask", "3", "wh\ud800?", "--from", "//Asker")
    assert (called.exit_code, client.asked) == (2, [])
    assert "is no Unicode text" in called.err


def test_a_channel_to_another_server_than_the_nodes_is_not_paid_from(
    client: AnsweringClient, keys: Path
) -> None:
    client.channels[CHANNEL] = open_channel(server=AccountId(bytes(32)))
    ledger_in(keys).begin(CHANNEL, AccountId(bytes(32)), MODEL)
    assert ask(keys, "--dry-run", "--json").document["channel"] is None


def ask_refused(keys: Path, *words: str) -> Called:
    openledger = OpenLedger("ws://nowhere:1", keys)
    return openledger("ask", "3", "why?", "--from", "//Asker", *words)


def test_nothing_is_signed_on_top_of_what_a_server_redeemed_without_an_answer(
    client: AnsweringClient, keys: Path
) -> None:
    ask(keys)
    spent = book_in(keys).spent_planck
    client.channels[CHANNEL] = replace(
        client.channels[CHANNEL], redeemed_planck=spent + 1, sequence=8
    )
    called = ask_refused(keys)
    assert called.exit_code != 0
    assert "gave answers for" in called.err
    assert "close-channel" in called.err
    assert len(client.asked) == 1


def test_an_answer_for_more_than_the_user_expects_is_not_signed_for(
    client: AnsweringClient, keys: Path
) -> None:
    client.channels[CHANNEL] = open_channel(deposit_planck=400)
    called = ask_refused(keys, "--max-tokens", "100")
    assert "--max-price" in called.err
    assert not client.asked
    assert book_in(keys).promise is None
    assert ask_refused(keys, "--max-tokens", "100", "--max-price", "200").exit_code == 0


def test_a_number_that_no_voucher_can_have_is_refused(client: AnsweringClient, keys: Path) -> None:
    for words in (("--temperature", "nan"), ("--temperature", "0.1234"), ("--top-p", "0.99999")):
        called = ask_refused(keys, *words)
        assert called.exit_code == 2
        assert not client.asked


def test_that_questions_may_be_drawn_is_said_once_and_remembered(
    client: AnsweringClient, keys: Path
) -> None:
    for words, expected in (((), False), (("--may-draw",), True), ((), True)):
        ask(keys, *words)
        assert client.asked[-1].voucher.may_draw is expected
    ask(keys, "--no-may-draw")
    assert not client.asked[-1].voucher.may_draw


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "another answer": ({"shown": "other"}, "its answer is another"),
    "more tokens than it said": ({"overcount": 1}, "other tokens than the answer said"),
    "more tokens than the answer can have": (
        {"overcount": 20},
        "more tokens than the answer can have",
    ),
    "another adapter": ({"adapter": Hash(b"?" * 32)}, "adapter is not the model's"),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_with_a_false_receipt_is_refused(
    client: AnsweringClient, keys: Path, lie: str
) -> None:
    changes, sentence = LIES[lie]
    for name, value in changes.items():
        setattr(client, name, value)
    called = ask(keys)
    assert called.exit_code == 1
    assert sentence in called.err
    assert f"tx inference close-channel --channel {CHANNEL}" in called.err
    assert book_in(keys).disputed == client.receipts[CHANNEL]
    again = ask(keys, "--dry-run", "--json")
    assert again.document["channel"] is None, "the channel is paid from no more"


def test_a_question_of_more_tokens_than_bytes_is_not_believed(
    client: AnsweringClient, keys: Path
) -> None:
    many = tokens_in_at_most("why?") + 1
    client.changed = {"tokens_in": many, "fee_planck": RATES.fee(many, 5)}
    called = ask(keys)
    assert called.exit_code == 1
    assert "more tokens than the question can have" in called.err


def test_a_receipt_whose_fee_its_voucher_does_not_give_is_kept_and_said_how_to_report(
    client: AnsweringClient, keys: Path
) -> None:
    client.changed = {"fee_planck": FEE + 1}
    called = ask(keys)
    assert called.exit_code == 1
    assert f"openledger channel report {CHANNEL}" in called.err
    book = book_in(keys)
    assert (book.spent_planck, book.disputed) == (0, client.receipts[CHANNEL])
    again = ask(keys, "--dry-run", "--json")
    assert again.document["channel"] is None, "the channel is paid from no more"


def test_a_server_that_redeems_more_than_its_receipt_gives_is_found_out(
    client: AnsweringClient, keys: Path
) -> None:
    client.redeems = 0
    assert "report" not in ask(keys).err
    client.redeems = 1
    called = ask(keys)
    assert called.exit_code == 0, "the answer is there"
    assert f"openledger channel report {CHANNEL}" in called.err
    assert book_in(keys).disputed == client.receipts[CHANNEL]
    assert ask(keys, "--dry-run", "--json").document["channel"] is None


def test_an_answer_that_broke_off_is_counted_before_the_next(
    client: AnsweringClient, keys: Path
) -> None:
    client.breaks_off = True
    ask(keys)
    assert book_in(keys).promise is not None
    client.breaks_off = False
    called = ask(keys)
    assert "Counted" in called.err
    assert called.out.startswith(TEXT), "what is paid for is shown"
    assert client.asked[-1].voucher.before_planck == FEE
    assert book_in(keys).spent_planck == 2 * FEE


def test_an_answer_that_broke_off_and_is_not_shown_is_not_paid(
    client: AnsweringClient, keys: Path
) -> None:
    client.breaks_off = True
    ask(keys)
    client.breaks_off = False
    client.salts.clear()
    called = ask(keys)
    assert called.exit_code == 1
    assert "does not show its answer" in called.err
    assert (book_in(keys).spent_planck, book_in(keys).disputed) == (0, client.receipts[CHANNEL])


def test_a_receipt_that_a_kill_kept_from_being_checked_is_checked_before_the_next_answer(
    client: AnsweringClient, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    client.shown = "other"
    with monkeypatch.context() as dying:
        dying.setattr(client, "receipt", die)
        ask(keys)
    client.shown = TEXT
    called = ask(keys)
    assert called.exit_code == 1
    assert "its answer is another" in called.err
    assert (book_in(keys).spent_planck, len(client.asked)) == (0, 1)


def test_a_promise_of_which_the_server_has_no_receipt_is_dropped(
    client: AnsweringClient, keys: Path
) -> None:
    client.breaks_off = True
    ask(keys)
    client.breaks_off = False
    client.receipts.clear()
    assert ask(keys).exit_code == 0
    voucher = client.asked[-1].voucher
    assert (voucher.sequence, voucher.before_planck) == (2, 0)


def test_the_text_of_a_receipt_is_shown_to_who_has_its_salt(
    client: AnsweringClient, keys: Path, tmp_path: Path
) -> None:
    receipt = OpenLedger("ws://nowhere:1", keys).json(
        "ask", "3", "why?", "--from", "//Asker", "--max-tokens", "16"
    )["receipt"]
    own = OpenLedger("ws://nowhere:1", keys)("receipt", "show", receipt, "--json")
    assert own.document["answer"] == TEXT
    stranger = OpenLedger("ws://nowhere:1", tmp_path / "others")
    called = stranger("receipt", "show", receipt, "--json")
    assert called.document["answer"] == ""
    assert "asker's" in called.err
    salt = client.salts[-1].hex()
    told = stranger("receipt", "show", receipt, "--salt", salt, "--json")
    assert told.document["answer"] == TEXT
    wrong = stranger("receipt", "show", receipt, "--salt", "0x12")
    assert wrong.exit_code == 2


def test_the_receipts_of_a_server_are_listed(client: AnsweringClient, keys: Path) -> None:
    ask(keys)
    openledger = OpenLedger("ws://nowhere:1", keys)
    (row,) = openledger.json("receipt", "list", "3")["receipts"]
    assert (row["channel"], row["sequence"], row["fee_planck"]) == (CHANNEL, 1, str(FEE))
    assert client.adapter == HASH
