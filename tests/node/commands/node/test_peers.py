"""A node, its peers and its bans, as the command line shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.client import Client, RequestRefusedError
from node.commands.node.peers import METHOD_NOT_FOUND
from tests.node.commands.support.calling import OpenLedger
from tests.node.commands.support.processes import running

NODE = ("node", "start", "--chain", "dev", "--sealing", "consensus", "--no-executor", "--no-serve")
ANY_PORT = ("--port", "0", "--p2p-port", "0")


def test_nodes_of_a_network_show_each_other(tmp_path: Path) -> None:
    validator = ("--validator", "--session-key", "//Alice", "--no-doppelganger")
    first = (*NODE, *ANY_PORT, "--base-path", str(tmp_path / "0"), *validator)
    with running(*first) as process:
        openledger = OpenLedger(process.document["url"], tmp_path / "keys")
        info = openledger.json("node", "info")
        assert info["roles"] == ["Authority"]
        assert info["chain_type"] == "Development"
        (address,) = info["listen_addresses"]
        assert address.endswith(info["peer_id"])
        second = (*NODE, *ANY_PORT, "--base-path", str(tmp_path / "1"), "--name", "follower")
        with running(*second, "--bootnode", address) as other:
            follower = OpenLedger(other.document["url"], tmp_path / "keys")
            with Client(other.document["url"]) as client, client.new_blocks() as blocks:
                blocks.next(None)  # a final block came, so its sender is connected
            (peer,) = follower.json("node", "peers")["peers"]
            assert peer["peer_id"] == info["peer_id"]
            assert (peer["role"], peer["direction"]) == ("validator", "out")
            (peer,) = openledger.json("node", "peers")["peers"]
            assert (peer["agent"], peer["direction"]) == ("follower", "in")
            called = follower("node", "bans")
            assert (called.exit_code, "Nobody is banned" in called.err) == (0, True)


def test_a_node_of_another_kind_is_not_called_alone(
    openledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(self: Client, method: str, *values: object) -> str:
        if method == "openledger_network":
            raise RequestRefusedError("Method not found.", METHOD_NOT_FOUND)
        return "12D3KooW"

    monkeypatch.setattr(Client, "call", answer)
    called = openledger("node", "peers")
    assert (called.exit_code, "no node of OpenLedger" in called.err) == (2, True)


def test_a_node_without_a_network_says_so(openledger: OpenLedger) -> None:
    info = openledger.json("node", "info")
    assert (info["peer_id"], info["listen_addresses"]) == (None, [])
    for word in ("peers", "bans"):
        called = openledger("node", word, "--json")
        assert called.exit_code == 0
        assert called.document == {word: []}
        assert "alone" in called.err
