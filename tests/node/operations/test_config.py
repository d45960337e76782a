"""Configuration: file, then environment, then flags; wrong settings are refused with the place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from node.operations.config import (
    ConfigError,
    LogFormat,
    NodeConfig,
    Sealing,
    default_base_path,
    load,
)
from p2p.transport.transport import peer_id_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "node.toml"
    path.write_text('name = "file"\nrpc_port = 1\nblock_time_ms = 100\narchive = true\n')
    return path


def test_a_later_source_wins(file: Path) -> None:
    environment = {"OPENLEDGER_NAME": "environment", "OPENLEDGER_RPC_PORT": "2"}
    config = load(file, environment, {"name": "flag", "chain": None})
    assert (config.name, config.rpc_port, config.block_time_ms) == ("flag", 2, 100)
    assert config.archive
    assert config.chain == NodeConfig().chain


def test_without_sources_the_defaults_hold() -> None:
    assert load(None, {}, {}) == NodeConfig()
    assert NodeConfig().base_path == default_base_path()
    assert NodeConfig().rpc_host == "127.0.0.1"


def test_values_are_converted_to_their_types(tmp_path: Path) -> None:
    environment = {
        "OPENLEDGER_SEALING": "manual",
        "OPENLEDGER_ARCHIVE": "Yes",
        "OPENLEDGER_EXECUTOR": "off",
        "OPENLEDGER_BASE_PATH": str(tmp_path),
        "OPENLEDGER_PASSWORD_FILE": str(tmp_path / "password"),
        "OPENLEDGER_LOG_FORMAT": "json",
        "PATH": "elsewhere",
        "OPENLEDGER_SCALE": "5",
    }
    config = load(None, environment, {})
    assert config.sealing is Sealing.MANUAL
    assert (config.archive, config.executor) == (True, False)
    assert config.base_path == tmp_path
    assert config.password_file == tmp_path / "password"
    assert config.log_format is LogFormat.JSON


PEER_ADDRESS = "/dns4/a.example/tcp/30333/p2p/" + peer_id_of(bytes(32))
WRONG: list[tuple[str, Any, str]] = [
    ("rpc_port", "many", "whole number"),
    ("rpc_port", 70_000, "0 to 65535"),
    ("rpc_port", 1.5, "whole number"),
    ("rpc_port", True, "whole number"),
    ("block_time_ms", 1, "10 to 3600000"),
    ("threads", 0, "at least 1"),
    ("archive", "maybe", "true or false"),
    ("archive", 7, "true or false"),
    ("sealing", "often", "instant, interval, manual, consensus"),
    ("log_format", "xml", "text, json"),
    ("log_level", "loud", "debug"),
    ("log_level", "info,p2p.servise=debug", "no module"),
    ("log_level", "info,,", "Leave out the comma"),
    ("log_level", "warn", "Did you mean warning"),
    ("log_level", "info,p2p=trace", "Did you mean debug"),
    ("state_pruning", 3, "16 to 4294967296, not 3"),
    ("peers_max", 97, "1 to 96, not 97"),
    ("p2p_host", "a b", "no IPv4 address, IPv6 address or host name"),
    ("bootnodes", ("hello",), "'hello' is not the address of a node"),
    ("bootnodes", ("",), "'' is not the address of a node"),
    ("bootnodes", ("/ip4/203.0.113.5/tcp/30333",), "does not end in /p2p/ and a peer id"),
    ("bootnodes", (PEER_ADDRESS, "/ip4/1.2.3.4/tcp/x"), "'x' is no port"),
    ("reserved_peers", ("/ip4/203.0.113.5/tcp/30333",), "does not end in /p2p/ and a peer id"),
    ("public_addresses", ("203.0.113.5",), "is not the address of a node"),
    ("public_addresses", ("/ip4/0.0.0.0/tcp/30333",), "means all interfaces"),
    ("public_addresses", ("/ip4/203.0.113.5/tcp/0",), "port 0"),
    ("mdns", "perhaps", "true or false"),
    ("name", 5, "text"),
    ("base_path", 5, "path"),
    ("colour", "red", "no setting 'colour'"),
]


@pytest.mark.parametrize(("name", "value", "reason"), WRONG)
def test_a_wrong_setting_is_refused_with_its_place(name: str, value: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as error:
        load(None, {}, {name: value})
    assert name in str(error.value)


@pytest.mark.parametrize("text", ["rpc_port = 1.5", "colour = 1", "name = 1", "= 1", "name = [1]"])
def test_a_wrong_file_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "node.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"node\.toml"):
        load(path, {}, {})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for path in (tmp_path / "missing", tmp_path, binary):
        with pytest.raises(ConfigError, match="cannot be read"):
            load(path, {}, {})


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="OPENLEDGER_THREADS"):
        load(None, {"OPENLEDGER_THREADS": "two"}, {})


def test_addresses_of_a_variable_are_parted_by_commas() -> None:
    config = load(None, {"OPENLEDGER_BOOTNODES": f"{PEER_ADDRESS}, {PEER_ADDRESS},"}, {})
    assert config.bootnodes == (PEER_ADDRESS, PEER_ADDRESS)
    with pytest.raises(ConfigError, match="bootnodes"):
        load(None, {"OPENLEDGER_BOOTNODES": f"{PEER_ADDRESS} {PEER_ADDRESS}"}, {})


def test_reserved_peers_leave_slots_for_others() -> None:
    flags = {"reserved_peers": (PEER_ADDRESS,), "peers_max": 1}
    with pytest.raises(ConfigError, match="1 peers leave no slot of peers_max = 1"):
        load(None, {}, flags)
    assert load(None, {}, {**flags, "peers_max": 2}).reserved_peers == (PEER_ADDRESS,)


@pytest.mark.parametrize("host", ["::", "::1", "0.0.0.0", "localhost", "node.example.org"])
def test_the_host_for_peers_is_an_ip_address_or_a_name(host: str) -> None:
    assert load(None, {}, {"p2p_host": host}).p2p_host == host


def test_all_that_is_wrong_is_named_at_once_with_its_file_or_variable(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('Name = "x"\nstate_prunning = 20\npeers_max = 97\nbootnodes = ["x"]\n')
    with pytest.raises(ConfigError) as error:
        load(path, {"OPENLEDGER_THREADS": "two", "OPENLEDGER_RPC_PORT": "70000"}, {})
    *others, last = str(error.value).splitlines()
    assert last.startswith(f"{path}: bootnodes: 'x' is not the address of a node")
    assert others == [
        f"{path}: there is no setting 'Name'. Did you mean name?",
        f"{path}: there is no setting 'state_prunning'. Did you mean state_pruning?",
        "OPENLEDGER_THREADS: a whole number is expected, not 'two'",
        "OPENLEDGER_RPC_PORT: rpc_port is 0 to 65535, not 70000",
        f"{path}: peers_max is 1 to 96, not 97",
    ]
