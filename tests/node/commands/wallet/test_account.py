from __future__ import annotations

from typing import Final

import pytest

from tests.node.commands.support.calling import OpenLedger
from tests.node.support.live_node import LiveNode

ALICE: Final = "5FA9nQDVg267DEd8m1ZypXLBnvN7SFxYwV7ndqSYGiN9TTpu"
NOWHERE: Final = "ws://127.0.0.1:1"


def free(openledger: OpenLedger, account: str) -> int:
    return int(openledger.json("account", "balance", account)["free_planck"])


def test_a_balance_is_told_by_address_and_by_name(openledger: OpenLedger) -> None:
    by_name = openledger.json("account", "balance", "//Ferdie")
    assert openledger.json("account", "balance", by_name["address"]) == by_name
    assert by_name["free_planck"] == "10000000" + "0" * 18


def test_a_table_is_printed_unless_json_is_asked_for(openledger: OpenLedger) -> None:
    called = openledger("account", "balance", "//Ferdie")
    assert called.exit_code == 0
    assert "10,000,000 OPEN" in called.out


def test_a_transfer_moves_money_and_tells_its_hash_first(openledger: OpenLedger) -> None:
    before = free(openledger, "//Bob")
    called = openledger("account", "transfer", "//Bob", "1.5OPEN", "--from", "//Alice", "--json")
    assert called.exit_code == 0
    assert called.err.startswith(f"Sent transaction {called.document['transaction']}")
    assert called.document["status"] == "included"
    assert free(openledger, "//Bob") == before + 15 * 10**17


def test_sr25519_accounts_sign_too(openledger: OpenLedger) -> None:
    document = openledger.json("account", "transfer", "//Bob", "1OPEN", "--from", "sr25519://Alice")
    assert document["status"] == "included"


def test_a_transfer_is_followed_to_finality(openledger: OpenLedger) -> None:
    words = ("account", "transfer", "//Bob", "1", "--from", "//Alice", "--wait", "final")
    assert openledger.json(*words)["status"] == "final"


def test_a_transfer_is_not_followed_when_nobody_waits(openledger: OpenLedger) -> None:
    words = ("account", "transfer", "//Bob", "1", "--from", "//Dave", "--wait", "none")
    document = openledger.json(*words)
    assert document["status"] == "submitted"
    assert document["block_hash"] is None


def test_a_dry_run_spends_nothing_and_needs_no_password(openledger: OpenLedger) -> None:
    before = free(openledger, "//Eve")
    words = ("account", "transfer", "//Bob", "1OPEN", "--from", "//Eve", "--dry-run")
    document = openledger.json(*words)
    assert document["succeeds"]
    assert int(document["free_before_planck"]) == before
    spent = 10**18 + int(document["fee_planck"])
    assert int(document["free_after_planck"]) == before - spent
    assert free(openledger, "//Eve") == before


def test_a_dry_run_ends_as_the_transfer_would(openledger: OpenLedger) -> None:
    words = ("account", "transfer", "//Bob", "900000000OPEN", "--from", "//Alice")
    called = openledger(*words, "--dry-run", "--json")
    assert called.exit_code == 5
    assert not called.document["succeeds"]
    assert called.document["needs_funds"]
    assert "The chain would refuse this" in called.err


def test_a_dry_run_costs_what_the_transfer_then_costs(openledger: OpenLedger) -> None:
    words = ("account", "transfer", "//Bob", "1OPEN", "--from", "//Eve")
    expected = openledger.json(*words, "--dry-run")["fee_planck"]
    assert openledger.json(*words)["fee_planck"] == expected


def test_a_failed_call_says_why_and_that_the_fee_was_paid(openledger: OpenLedger) -> None:
    words = ("account", "transfer", "//Bob", "900000000OPEN", "--from", "//Alice", "--json")
    called = openledger(*words)
    assert called.exit_code == 5
    assert "too little free balance" in called.err
    assert "was paid" in called.err
    assert called.document["error"]["exit_code"] == 5


def test_an_account_without_money_cannot_pay(openledger: OpenLedger) -> None:
    called = openledger("account", "transfer", "//Bob", "1OPEN", "--from", "//Nobody")
    assert called.exit_code == 5
    assert "cannot pay the fee" in called.err


@pytest.mark.parametrize(
    ("words", "exit_code", "sentence"),
    [
        (("balance", "garbage"), 2, "is no account"),
        (("balance", "//Alice", "--url", NOWHERE), 3, "No node answers"),
        (("balance", "//Alice", "--url", "http://127.0.0.1:1"), 3, "No node answers"),
        (("balance", "//Alice", "--url", "ftp://here"), 2, "names no node"),
        (("balance", "//Alice", "--genesis", "0x12"), 2, "is no hash"),
        (("balance", "//Alice", "--genesis", "0x" + "00" * 32), 3, "another chain"),
        (("transfer", "//Bob", "much", "--from", "//Alice"), 2, "is no amount"),
        (("transfer", "//Bob", "0.5", "--from", "//Alice"), 2, "write 0.5OPEN"),
        (("transfer", "//Bob", "1", "--from", "unknown"), 2, "There is no key"),
        (("transfer", "//Bob", "1", "--from", "//Alice", "--tip", "x"), 2, "is no amount"),
        (("transfer", "//Bob", "1"), 2, "--from"),
        (("transfer", "//Bob"), 2, "AMOUNT"),
    ],
)
def test_a_mistake_ends_with_a_sentence(
    openledger: OpenLedger, words: tuple[str, ...], exit_code: int, sentence: str
) -> None:
    called = openledger("account", *words)
    assert called.exit_code == exit_code
    assert sentence in called.err


def test_a_wait_that_ends_early_says_that_it_may_still_land(
    sleeping_node: LiveNode, openledger: OpenLedger
) -> None:
    words = ("account", "transfer", "//Bob", "1", "--from", "//Alice", "--wait-seconds", "0.2")
    called = openledger(*words, "--url", sleeping_node.rpc_url)
    assert called.exit_code == 4
    assert called.err.startswith("Sent transaction 0x")
    assert "may still get into a block" in called.err


def test_ctrl_c_ends_the_wait_and_not_the_transaction(
    openledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = free(openledger, "//Bob")
    monkeypatch.setattr("node.client.client.follow", interrupted)
    called = openledger("account", "transfer", "//Bob", "7", "--from", "//Eve")
    assert called.exit_code == 4
    assert "was sent and may still land" in called.err
    monkeypatch.undo()
    openledger.json("account", "transfer", "//Bob", "1", "--from", "//Eve")
    assert free(openledger, "//Bob") == before + 8


def test_accounts_are_listed_with_their_balances(openledger: OpenLedger) -> None:
    listed = openledger.json("account", "list")["accounts"]
    assert [account["address"] for account in listed if account["name"] == "//Alice"] == [ALICE]


def test_status_tells_the_chain(openledger: OpenLedger, node: LiveNode) -> None:
    document = openledger.json("status")
    assert document["genesis_hash"] == "0x" + node.chain.genesis_hash.hex()
    assert document["url"] == node.rpc_url


def test_a_mistyped_address_is_not_taken_for_a_name(openledger: OpenLedger) -> None:
    address = openledger.json("key", "inspect", "//Bob")["address"]
    wrong = f"{address[:-1]}{'A' if address[-1] != 'A' else 'B'}"
    called = openledger("account", "balance", wrong)
    assert called.exit_code == 2
    assert "There is no key" not in called.err
