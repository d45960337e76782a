"""Servers bond themselves, add to the bond, leave, and take it back."""

from __future__ import annotations

from pathlib import Path

import pytest

import node.client
from node.commands.catalogue import FOLDER
from pallets.inference.records import Server
from runtime.crypto import ss58
from tests.node.commands.support.answering import AnsweringClient
from tests.node.commands.support.calling import OpenLedger
from tests.node.support.paid_answers import SERVER_ACCOUNT


def test_a_server_is_bonded_shown_and_leaves(openledger: OpenLedger) -> None:
    unknown = openledger("server", "show", "//Bob")
    assert unknown.exit_code == 2
    assert "openledger server register" in unknown.err
    few = openledger("server", "register", "--bond", "1OPEN", "--from", "//Bob")
    assert few.exit_code == 1
    assert "below the least" in few.err
    done = openledger.json("server", "register", "--bond", "100OPEN", "--from", "//Bob")
    assert any(event["event"] == "Inference.ServerRegistered" for event in done["events"])
    openledger.json("server", "add-bond", "5OPEN", "--from", "//Bob")
    shown = openledger.json("server", "show", "//Bob")
    assert (shown["bond_planck"], shown["channels"]) == (str(105 * 10**18), 0)
    assert (shown["leaving_at"], shown["free_from"]) == (None, None)
    left = openledger("server", "leave", "--from", "//Bob")
    assert left.exit_code == 0
    assert "openledger server withdraw" in left.err
    shown = openledger.json("server", "show", "//Bob")
    assert shown["free_from"] > shown["leaving_at"]
    early = openledger("server", "withdraw", "--from", "//Bob")
    assert early.exit_code == 1
    assert "bond is held" in early.err


def test_a_development_node_serves_from_its_first_block(openledger: OpenLedger) -> None:
    shown = openledger.json("server", "show", "//Alice")
    assert (shown["bond_planck"], shown["epochs"]) == (str(1_000 * 10**18), [])
    assert (FOLDER / "server-show.json").exists()


def test_a_server_shows_at_its_own_node_why_its_epochs_wait(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client = AnsweringClient(server=Server(100))
    client.settlements = [
        {"model": 3, "epoch": 4, "state": "stopped", "reason": "The receipt store is lost."}
    ]
    monkeypatch.setattr(node.client, "Client", client)
    show = OpenLedger("ws://nowhere:1", tmp_path).json
    assert show("server", "show", ss58.encode(SERVER_ACCOUNT))["epochs"] == client.settlements
    assert show("server", "show", "//Bob")["epochs"] == [], "of another server's it knows nothing"
