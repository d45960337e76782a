from __future__ import annotations

import json
from typing import Final

import pytest

from node.commands.catalogue import commands
from node.commands.wallet.tx import command_name
from pallets import PALLETS
from runtime.frame.dispatch import Inherent
from tests.node.commands.support.calling import OpenLedger

NAMES: Final = [words for words, _ in commands() if words.startswith("tx ")]


def test_every_call_of_the_chain_is_a_command() -> None:
    calls = {
        f"tx {command_name(pallet.name)} {command_name(spec.name)}"
        for pallet in PALLETS
        for spec in pallet.call_specs.values()
        if spec.origin is not Inherent
    }
    assert set(NAMES) == calls


@pytest.mark.parametrize("words", NAMES)
def test_every_call_has_help_with_its_sentence(openledger: OpenLedger, words: str) -> None:
    called = openledger(*words.split(), "--help")
    assert called.exit_code == 0
    assert "--from" in called.out


def test_a_call_is_sent_with_its_arguments(openledger: OpenLedger) -> None:
    words = ("tx", "balances", "transfer-keep-alive", "--dest", "//Bob", "--value", "1.5OPEN")
    document = openledger.json(*words, "--from", "//Alice")
    moved = [event for event in document["events"] if event["event"] == "Balances.Transfer"]
    assert moved[0]["fields"]["amount"] == "15" + "0" * 17


def test_a_batch_of_calls_is_written_as_json(openledger: OpenLedger) -> None:
    calls = [
        {"pallet": "System", "call": "remark_with_event", "arguments": {"remark": "hello"}},
        {
            "pallet": "Balances",
            "call": "transfer_keep_alive",
            "arguments": {"dest": "//Bob", "value": "1 OPEN"},
        },
    ]
    words = ("tx", "utility", "batch-all", "--calls", json.dumps(calls), "--from", "//Alice")
    events = [event["event"] for event in openledger.json(*words)["events"]]
    assert "System.Remarked" in events
    assert "Balances.Transfer" in events


def test_a_call_with_an_enum_a_list_and_texts_is_sent(openledger: OpenLedger) -> None:
    options = {
        "name": "Generated",
        "summary": "s",
        "description": "",
        "tags": '["one", "two"]',
        "licence": "CC0-1.0",
        "source": "s",
        "purpose": "p",
        "schema": "s",
        "access": "on-request",
    }
    words = [part for name, text in options.items() for part in (f"--{name}", text)]
    document = openledger.json("tx", "datanets", "create", *words, "--from", "//Charlie")
    assert any(event["event"] == "Datanets.Created" for event in document["events"])


def test_the_error_of_a_pallet_is_its_sentence(openledger: OpenLedger) -> None:
    called = openledger("tx", "datanets", "publish", "--datanet", "99", "--from", "//Alice")
    assert called.exit_code == 1
    assert "Datanets.UnknownDatanet: There is no datanet with this number" in called.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("balances", "transfer-all", "--dest", "//Bob", "--keep-alive", "maybe"), "JSON"),
        (("balances", "transfer-all", "--dest", "//Bob", "--keep-alive", "1"), "true or false"),
        (("balances", "transfer-all", "--dest", "Bob", "--keep-alive", "true"), "is no account"),
        (("balances", "burn", "--value", "-1", "--keep-alive", "true"), "is no amount"),
        (("datanets", "publish", "--datanet", "4294967296"), "does not fit 32 bits"),
        (("datanets", "review", "--datanet", "0", "--batch", "0", "--verdict", "fine"), "one of"),
        (("utility", "batch", "--calls", "[1]"), "a call is"),
        (("utility", "batch", "--calls", "{}"), "--calls"),
        (
            ("utility", "batch", "--calls", '[{"pallet": "X", "call": "y", "arguments": {}}]'),
            "no call X.y",
        ),
        (("jobs", "submit", "--spec", "Dance"), "one of"),
    ],
)
def test_a_mistake_is_a_usage_error(
    openledger: OpenLedger, words: tuple[str, ...], sentence: str
) -> None:
    called = openledger("tx", *words, "--from", "//Alice")
    assert called.exit_code == 2
    assert sentence in called.err
