"""Stake is bonded, put behind validators, followed and taken back from the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from node.client import Client
from node.commands.staking.records import parse_commission
from pallets.staking.records import bonding_eras
from runtime.crypto import ss58
from runtime.crypto.keys import Keypair
from runtime.shared.finality import Ballot, Equivocation, Kind, Vote, payload
from runtime.types.primitives import OPEN, Hash
from tests.node.commands.support.calling import OpenLedger
from tests.node.commands.support.short_eras import SESSIONS_PER_ERA, mine, short_node
from tests.node.support.live_node import LiveNode

ALICE: Final = Keypair.from_uri("//Alice")
ALICE_ADDRESS: Final = ss58.encode(ALICE.account)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    with short_node(tmp_path_factory.mktemp("stake")) as running:
        yield running


def staked(openledger: OpenLedger, account: str) -> tuple[str, int, int]:
    document = openledger.json("stake", "status", account)
    return document["role"], int(document["bonded_planck"]), int(document["active_planck"])


def test_stake_goes_in_backs_a_validator_and_comes_out(
    openledger: OpenLedger, node: LiveNode
) -> None:
    assert staked(openledger, "//Bob") == ("none", 0, 0)
    called = openledger("stake", "bond", "500OPEN", "--from", "//Bob", "--json")
    assert called.document["status"] == "included"
    assert "stake nominate" in called.err
    openledger.json("stake", "more", "100OPEN", "--from", "//Bob")
    assert staked(openledger, "//Bob") == ("idle", 600 * OPEN, 600 * OPEN)
    openledger.json("stake", "nominate", "//Alice", "--from", "//Bob")
    mine(node, 3 * SESSIONS_PER_ERA)
    document = openledger.json("stake", "status", "//Bob")
    (nomination,) = document["nominations"]
    assert document["role"] == "nominator"
    assert nomination["validator"] == ALICE_ADDRESS
    assert int(nomination["exposed_planck"]) == 600 * OPEN

    called = openledger("stake", "unbond", "200OPEN", "--from", "//Bob", "--json")
    assert called.err.splitlines()[-1].startswith("200 OPEN can be withdrawn from block ")
    openledger.json("stake", "rebond", "50OPEN", "--from", "//Bob")
    openledger.json("stake", "chill", "--from", "//Bob")
    document = openledger.json("stake", "status", "//Bob")
    (leaving,) = document["unbonding"]
    assert document["role"] == "idle"
    assert int(leaving["amount_planck"]) == 150 * OPEN
    assert leaving["free_in_era"] >= document["era"] + bonding_eras(SESSIONS_PER_ERA) - 1
    assert not leaving["is_free"]

    early = openledger("stake", "withdraw", "--from", "//Bob")
    assert "Nothing is free yet" in early.err
    mine(node, leaving["free_at_block"] - 2)
    early = openledger("stake", "withdraw", "--from", "//Bob")
    assert "Nothing is free yet" in early.err, "one block before it is told to be free"
    called = openledger("stake", "withdraw", "--from", "//Bob", "--json")
    assert called.document["block_number"] == leaving["free_at_block"]
    assert "Staking.Withdrawn" in [event["event"] for event in called.document["events"]]
    assert staked(openledger, "//Bob")[1] >= 450 * OPEN


def test_everything_can_be_taken_back_by_the_word_all(openledger: OpenLedger) -> None:
    openledger.json("stake", "bond", "100OPEN", "--from", "//Charlie", "--rewards", "free")
    openledger.json("stake", "unbond", "all", "--from", "//Charlie")
    assert staked(openledger, "//Charlie") == ("idle", 100 * OPEN, 0)
    openledger.json("stake", "rebond", "all", "--from", "//Charlie")
    document = openledger.json("stake", "status", "//Charlie")
    assert document["active_planck"] == str(100 * OPEN)
    assert document["rewards_go_to"] == "free balance"


def test_a_validator_stands_with_its_commission_and_is_told_what_it_lacks(
    openledger: OpenLedger,
) -> None:
    openledger.json("stake", "bond", "2000OPEN", "--from", "//Dave")
    called = openledger("stake", "validate", "--commission", "2.5%", "--from", "//Dave", "--json")
    assert called.document["status"] == "included"
    assert "set-keys" in called.err
    document = openledger.json("stake", "validators")
    rows = {row["account"]: row for row in document["validators"]}
    dave = rows[ss58.encode(Keypair.from_uri("//Dave").account)]
    alice = rows[ALICE_ADDRESS]
    assert (dave["commission_percent"], dave["is_standing"], dave["votes"]) == (2.5, True, False)
    assert alice["votes"]
    assert alice["is_silent"] is None, "a node that makes its blocks alone hears nobody"
    assert int(alice["stake_planck"]) >= 100_000 * OPEN
    assert openledger.json("stake", "status", "//Dave")["commission_percent"] == 2.5


def test_a_dry_run_of_staking_changes_nothing(openledger: OpenLedger) -> None:
    words = ("stake", "bond", "100OPEN", "--from", "//Eve", "--dry-run")
    document = openledger.json(*words)
    assert document["succeeds"]
    held = int(document["held_after_planck"]) - int(document["held_before_planck"])
    assert held == 100 * OPEN
    assert staked(openledger, "//Eve") == ("none", 0, 0)


def test_an_account_may_come_from_the_environment(openledger: OpenLedger) -> None:
    openledger.environment["OPENLEDGER_FROM"] = "//Alice"
    assert openledger.json("stake", "status")["role"] == "validator"


def test_tables_are_for_people(openledger: OpenLedger) -> None:
    called = openledger("stake", "validators")
    assert called.exit_code == 0
    assert "OPEN" in called.out
    assert "validators (" in called.out


@pytest.mark.parametrize(
    ("words", "exit_code", "sentence"),
    [
        (("bond", "much", "--from", "//Eve"), 2, "is no amount"),
        (("bond", "1OPEN", "--from", "//Eve"), 1, "below the minimum"),
        (("bond", "100000000OPEN", "--from", "//Eve"), 5, ""),
        (("more", "1OPEN", "--from", "//Eve"), 1, "bonded nothing"),
        (("unbond", "all", "--from", "//Eve"), 2, "bonded nothing"),
        (("rebond", "1OPEN", "--from", "//Eve"), 2, "bonded nothing"),
        (("withdraw", "--from", "//Eve"), 2, "bonded nothing"),
        (("validate", "--commission", "101", "--from", "//Eve"), 2, "no percentage"),
        (("validate", "--commission", "x", "--from", "//Eve"), 2, "no percentage"),
        (("nominate", *["//Alice"] * 17, "--from", "//Eve"), 2, "at most 16"),
        (("nominate", "garbage", "--from", "//Eve"), 2, "is no account"),
        (("nominate", "//Alice", "--from", "//Eve"), 1, "bonded nothing"),
        (("chill", "--from", "//Eve"), 1, "bonded nothing"),
        (("status", "garbage"), 2, "is no account"),
        (("status",), 2, "ACCOUNT"),
        (("validators", "--url", "ws://127.0.0.1:1"), 3, "No node answers"),
        (("slashes", "--blocks", "1000"), 2, "--blocks"),
    ],
)
def test_a_mistake_ends_with_a_sentence(
    openledger: OpenLedger, words: tuple[str, ...], exit_code: int, sentence: str
) -> None:
    called = openledger("stake", *words)
    assert called.exit_code == exit_code, called.err
    assert sentence in called.err


def test_a_slash_is_shown_while_it_waits_and_after(tmp_path: Path) -> None:
    with short_node(tmp_path / "node") as node:
        openledger = OpenLedger(node.rpc_url, tmp_path / "keys")
        assert "Nobody is being slashed" in openledger("stake", "slashes").err
        with Client(node.rpc_url) as client:
            call = client.make_call("Offences", "report", evidence=double_vote(client.genesis_hash))
            client.submit(client.sign(call, Keypair.from_uri("//Bob")))
        (pending,) = openledger.json("stake", "slashes")["pending"]
        assert pending["validator"] == ALICE_ADDRESS
        assert pending["offence"] == "equivocation"
        assert pending["percent"] == 100.0, "the one validator is a third of the set, and more"
        assert int(pending["amount_planck"]) == 100_000 * OPEN
        assert openledger.json("stake", "status", "//Alice")["pending_slashes"] == [pending]
        assert openledger.json("stake", "status", "//Bob")["pending_slashes"] == []
        (alice,) = openledger.json("stake", "validators")["validators"]
        assert not alice["is_standing"]

        mine(node, 2 * SESSIONS_PER_ERA)
        document = openledger.json("stake", "slashes", "--blocks", "16")
        assert document["pending"] == []
        (applied,) = document["applied"]
        assert int(applied["amount_planck"]) == 100_000 * OPEN
        assert applied["block_number"] is not None
        (known,) = openledger.json("stake", "slashes")["applied"]
        assert known["percent"] == 100.0
        assert known["amount_planck"] is None


def double_vote(genesis: Hash) -> Equivocation:
    """Return two votes of //Alice in epoch 0 that exclude each other."""
    ballots = [Ballot(0, 1, Kind.NOTARIZE, Hash(bytes([number]) * 32)) for number in (1, 2)]
    first, second = (Vote(ballot, 0, ALICE.sign(payload(genesis, ballot))) for ballot in ballots)
    return Equivocation(first, second)


@pytest.mark.parametrize(
    ("text", "parts"),
    [("0", 0), ("5", 5 * 10**7), ("2.5%", 25 * 10**6), ("100 %", 10**9), ("0.0000001", 1)],
)
def test_commissions_are_written_in_percent(text: str, parts: int) -> None:
    assert parse_commission(text) == parts
