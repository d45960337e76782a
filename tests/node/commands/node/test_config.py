"""`openledger config`: a file is made, shown as it counts, and checked before a node starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.keys import keystore
from node.keys.keystore import LIGHT_COST, Keystore
from node.operations.config import NodeConfig, load
from runtime.crypto.keys import Keypair
from tests.node.commands.support.calling import OpenLedger


@pytest.fixture
def offline(tmp_path: Path) -> OpenLedger:
    return OpenLedger("ws://127.0.0.1:1", tmp_path / "keys")


def test_a_new_file_names_every_setting_and_changes_none(
    offline: OpenLedger, tmp_path: Path
) -> None:
    file = tmp_path / "node.toml"
    made = offline.json("config", "init", str(file))
    assert load(file, {}, {}) == NodeConfig()
    text = file.read_text()
    blocks = text.strip().split("\n\n")[1:]
    assert len(blocks) == made["settings"]
    assert all(len(block.splitlines()) >= 2 for block in blocks), "each has its sentence"
    called = offline("config", "init", str(file))
    assert (called.exit_code, "nothing was overwritten" in called.err) == (2, True)


def test_settings_are_shown_with_their_source(offline: OpenLedger, tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text("rpc_port = 7\n")
    offline.environment["OPENLEDGER_NAME"] = "mine"
    shown = offline.json("config", "show", "--config", str(file))["settings"]
    by_name = {line["name"]: (line["value"], line["source"]) for line in shown}
    assert by_name["rpc_port"] == ("7", str(file))
    assert by_name["name"] == ('"mine"', "OPENLEDGER_NAME")
    assert by_name["p2p_port"][1] == "default"


def test_a_check_names_what_would_keep_a_node_from_starting(
    offline: OpenLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, base = tmp_path / "node.toml", tmp_path / "base"
    assert offline.json("config", "check")["is_good"]
    file.write_text(f'base_path = "{base}"\naccount = "node"\n')
    called = offline("config", "check", "--config", str(file), "--json")
    assert called.exit_code == 2
    assert not called.document["is_good"]
    assert "There is no key 'node' in" in called.document["problems"][0]
    Keystore(base / "keys").add(Keypair.from_uri("//Node"), "secret", "node", LIGHT_COST)
    called = offline("config", "check", "--config", str(file))
    assert "--password-file" in called.err
    (tmp_path / "password").write_text("secret\n")
    file.write_text(f'{file.read_text()}password_file = "{tmp_path / "password"}"\n')
    assert offline.json("config", "check", "--config", str(file))["is_good"]
    assert keystore.COST.n > LIGHT_COST.n


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('chain = "/nowhere.json"', "cannot be read"),
        ("rpc_prot = 1", "no setting 'rpc_prot'"),
        ("rpc_port = 99999", "0 to 65535"),
        ("= 1", "cannot be read"),
        ('signer = "/nowhere"\nvalidator = true', "No signer listens"),
    ],
)
def test_a_wrong_file_is_refused_with_a_sentence(
    offline: OpenLedger, tmp_path: Path, text: str, sentence: str
) -> None:
    file = tmp_path / "node.toml"
    file.write_text(text)
    called = offline("config", "check", "--config", str(file))
    assert called.exit_code == 2
    assert sentence in called.err


def test_a_misspelt_variable_is_warned_of_by_every_command(offline: OpenLedger) -> None:
    offline.environment["OPENLEDGER_RPC_PROT"] = "1"
    called = offline("key", "list")
    assert called.exit_code == 0
    assert "Warning: The variable OPENLEDGER_RPC_PROT has no effect" in called.err
    assert "OPENLEDGER_RPC_PORT?" in called.err
