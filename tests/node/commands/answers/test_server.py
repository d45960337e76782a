"""Servers bond themselves, add to the bond, leave, and take it back."""

from __future__ import annotations

from node.commands.catalogue import FOLDER
from tests.node.commands.support.calling import OpenLedger


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
    assert openledger.json("server", "show", "//Alice")["bond_planck"] == str(1_000 * 10**18)
    assert (FOLDER / "server-show.json").exists()
