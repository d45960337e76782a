"""Channels: lost books are found again, and what a server has lied by is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

import node.client
from node.client.asker_ledger import AskerLedger, ChannelBook, Promise, ReceiptDisputedError
from pallets.inference import Channel
from runtime.crypto.keys import Keypair
from runtime.frame.dispatch import Call
from runtime.shared.receipts import SignedReceipt
from runtime.types.primitives import AccountId
from tests.node.commands.support.answering import AnsweringClient, arguments_of
from tests.node.commands.support.calling import Called, OpenLedger
from tests.node.support.paid_answers import (
    ASKER,
    CHANNEL,
    GENESIS,
    MODEL,
    RATES,
    SALT,
    SERVER_ACCOUNT,
    open_channel,
    receipt_for,
    signed,
    voucher,
)

FEE = RATES.fee(4, 5)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> AnsweringClient:
    made = AnsweringClient()
    monkeypatch.setattr(node.client, "Client", made)
    return made


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def channel(keys: Path, *words: str) -> Called:
    return OpenLedger("ws://nowhere:1", keys)("channel", *words, "--json")


def ledger_in(keys: Path) -> AskerLedger:
    return AskerLedger(keys, GENESIS, AccountId(ASKER.account))


def last_receipt(sequence: int = 4, before: int = 60, **changed: object) -> SignedReceipt:
    promise = voucher(sequence=sequence, before_planck=before, limit_planck=before + 110)
    return receipt_for(signed(promise), **changed)  # type: ignore[arg-type]


def recovered(keys: Path) -> tuple[int, int]:
    book = ledger_in(keys).get(CHANNEL)
    assert book is not None
    return book.spent_planck, book.sequence


def test_a_lost_book_is_found_by_the_servers_last_receipt(
    client: AnsweringClient, keys: Path
) -> None:
    client.receipts[CHANNEL] = last_receipt()
    called = channel(keys, "recover", str(CHANNEL), "--from", "//Asker")
    assert called.document["answers"] == 4
    assert called.document["last_receipt"] is not None
    assert recovered(keys) == (60 + FEE, 4)
    openledger = OpenLedger("ws://nowhere:1", keys)
    assert openledger("ask", "3", "why?", "--from", "//Asker").exit_code == 0
    assert client.asked[-1].voucher.before_planck == 60 + FEE


def test_without_a_receipt_the_book_rests_on_the_chain(client: AnsweringClient, keys: Path) -> None:
    client.channels[CHANNEL] = open_channel(redeemed_planck=70, sequence=8)
    called = channel(keys, "recover", str(CHANNEL), "--from", "//Asker")
    assert "rests on the chain alone" in called.err
    assert called.document["last_receipt"] is None
    assert recovered(keys) == (70, 8)


FORGED = {
    "a voucher of another": receipt_for(
        signed(voucher(before_planck=90_000, limit_planck=99_000), Keypair.from_uri("//Eve"))
    ),
    "another channel": receipt_for(
        signed(voucher(channel=8, before_planck=90_000, limit_planck=99_000))
    ),
    "a fee that it does not give": last_receipt(fee_planck=90_000),
    "another server": receipt_for(signed(voucher()), pair=Keypair.from_uri("//Eve")),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_receipt_that_the_asker_never_paid_for_is_left_out(
    client: AnsweringClient, keys: Path, case: str
) -> None:
    client.receipts[CHANNEL] = FORGED[case]
    called = channel(keys, "recover", str(CHANNEL), "--from", "//Asker")
    assert "does not carry your voucher" in called.err
    assert recovered(keys) == (0, 0)


def test_only_the_asker_recovers_a_channel_that_is_there(
    client: AnsweringClient, keys: Path
) -> None:
    refused = channel(keys, "recover", str(CHANNEL), "--from", "//Eve")
    assert (refused.exit_code, "not one that //Eve asks with" in refused.err) == (2, True)
    assert channel(keys, "recover", "9", "--from", "//Asker").exit_code == 2


def report(client: AnsweringClient, keys: Path, what: str) -> Call:
    called = channel(keys, "report", what, "--from", "//Asker", "--dry-run")
    assert called.exit_code == 0, called.err
    return client.calls[-1]


def test_a_receipt_of_the_books_or_of_a_file_is_reported(
    client: AnsweringClient, keys: Path, tmp_path: Path
) -> None:
    made = last_receipt()
    ledger_in(keys).recover(CHANNEL, ChannelBook(SERVER_ACCOUNT, MODEL, 75, 4, last=made))
    file = tmp_path / "receipt.hex"
    file.write_text(client.hex_of(made) + "\n")
    expected = client.make_call(
        "Inference",
        "report_receipt",
        voucher=made.voucher,
        receipt=made.receipt,
        signature=made.signature,
    )
    assert report(client, keys, str(CHANNEL)) == expected
    assert report(client, keys, str(file)) == expected


def test_a_false_receipt_is_reported_before_the_last_good_one(
    client: AnsweringClient, keys: Path
) -> None:
    ledger = ledger_in(keys)
    ledger.begin(CHANNEL, SERVER_ACCOUNT, MODEL)
    promise = Promise(signed(voucher()), SALT, 4, 100)
    ledger.promise(CHANNEL, promise)
    false = receipt_for(promise.signed, fee_planck=FEE + 1)
    with pytest.raises(ReceiptDisputedError):
        ledger.settle(CHANNEL, false)
    assert arguments_of(report(client, keys, str(CHANNEL)))["receipt"] == false.receipt


def test_two_receipts_for_one_voucher_are_reported_together(
    client: AnsweringClient, keys: Path
) -> None:
    first, second = last_receipt(), last_receipt(index_job=9)
    book = ChannelBook(SERVER_ACCOUNT, MODEL, 75, 4, last=first, disputed=second)
    ledger_in(keys).recover(CHANNEL, book)
    call = report(client, keys, str(CHANNEL))
    assert call.name == "report_double_receipt"
    given = arguments_of(call)
    assert (given["receipt"], given["other"]) == (first.receipt, second.receipt)


@pytest.mark.parametrize("what", ["9", "no/file", __file__])
def test_without_a_receipt_there_is_nothing_to_report(
    client: AnsweringClient, keys: Path, what: str
) -> None:
    called = channel(keys, "report", what, "--from", "//Asker", "--dry-run")
    assert (called.exit_code, client.calls) == (2, [])


def test_channels_are_listed_with_what_the_books_say(client: AnsweringClient, keys: Path) -> None:
    gone = open_channel(is_closed=True, closes_at=9)
    client.channels = {CHANNEL: open_channel(redeemed_planck=5), 8: gone}
    book = ChannelBook(SERVER_ACCOUNT, MODEL, 75, 4, disputed=last_receipt())
    ledger_in(keys).recover(CHANNEL, book)
    first, second = channel(keys, "list", "//Asker").document["channels"]
    assert (first["role"], first["state"], first["spent_planck"]) == ("asker", "open", "75")
    assert (first["is_disputed"], second["is_disputed"]) == (True, False)
    assert (second["state"], second["spent_planck"]) == ("closed", None)


def test_what_waits_for_contributors_that_are_never_paid_is_taken_back(
    client: AnsweringClient, keys: Path
) -> None:
    called = channel(keys, "take-back", "7", "--from", "//Asker", "--dry-run")
    assert called.exit_code == 0
    assert client.calls == [client.make_call("Inference", "take_back", channel=7)]
    assert isinstance(client.channels[CHANNEL], Channel)
