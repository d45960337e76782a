"""`openledger node start` as operators use it: the network options, right and wrong."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli import root
from genesis.devnet import devnet_spec
from node.client.client import Client
from node.operations.log_levels import OWN_PACKAGES
from p2p.transport.transport import peer_id_of
from tests.conftest import REPOSITORY

READY_SECONDS = 60.0
STOP_SECONDS = 20.0
PROGRAM = (sys.executable, "-c", "from cli import main; main()")
STRANGER = peer_id_of(bytes(32))


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spec") / "spec.json"
    path.write_text(devnet_spec(1).to_json())
    return path


@pytest.fixture(autouse=True)
def _logging_restored() -> Iterator[None]:
    """Keep what a command in this process does to the logs from the tests after it."""
    loggers = [logging.getLogger(name) for name in ("", *OWN_PACKAGES)]
    former, handlers = [logger.level for logger in loggers], loggers[0].handlers[:]
    yield
    for logger, level in zip(loggers, former, strict=True):
        logger.setLevel(level)
    loggers[0].handlers[:] = handlers


def words(spec: Path, base_path: Path, *more: str) -> list[str]:
    return [
        *("node", "start", "--chain", str(spec), "--base-path", str(base_path)),
        *("--port", "0", "--p2p-port", "0", "--no-executor", "--no-serve", *more),
    ]


# ------------------------------------------------------------------------- starts refused


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--bootnode", "hello", "bootnodes: 'hello' is not the address of a node"),
        ("--bootnode", "", "bootnodes: '' is not the address of a node"),
        ("--bootnode", "/ip4/203.0.113.5/tcp/30333", "does not end in /p2p/ and a peer id"),
        ("--reserved-peer", "/ip4/203.0.113.5/tcp/30333", "does not end in /p2p/ and a peer id"),
        ("--public-address", "203.0.113.5:30333", "is not the address of a node"),
        ("--public-address", f"/ip4/1.2.3.4/tcp/1/p2p/{STRANGER}", "is another node's"),
        ("--p2p-host", "a b", "no IPv4 address, IPv6 address or host name"),
        ("--p2p-host", "nosuch.invalid", "The name nosuch.invalid"),
        ("--p2p-host", "192.0.2.1", "Cannot assign requested address"),
        ("--log-level", "p2p.servise=debug", "There is no module 'p2p.servise'"),
    ],
)
def test_a_wrong_network_option_is_refused_in_one_sentence(
    spec: Path, tmp_path: Path, option: str, value: str, reason: str
) -> None:
    result = CliRunner().invoke(root, words(spec, tmp_path, option, value))
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert reason in line
    assert "Traceback" not in result.output


def test_a_chain_spec_with_a_bootnode_that_nobody_can_dial_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(replace(devnet_spec(1), boot_nodes=("/ip4/1.2.3.4/tcp/1",)).to_json())
    result = CliRunner().invoke(root, words(path, tmp_path))
    assert result.exit_code == 2, result.output
    assert "bootNodes of the chain spec devnet-1: /ip4/1.2.3.4/tcp/1" in result.stderr


# --------------------------------------------------------------------------- real processes


@dataclass(frozen=True)
class Node:
    endpoint: dict[str, Any]
    log: Path

    @property
    def port(self) -> int:
        return int(self.endpoint["p2p"][-1].split("/")[4])

    def peers(self) -> list[str]:
        with Client(self.endpoint["rpc"]) as client:
            return [peer["peerId"] for peer in client.call("system_peers")]

    def wait_for(self, peer: str) -> None:
        until(lambda: peer in self.peers(), self.log)

    def wait_for_line(self, *parts: str) -> str:
        def find() -> str:
            lines = self.log.read_text().splitlines()
            return next((line for line in lines if all(part in line for part in parts)), "")

        until(lambda: bool(find()), self.log)
        return find()


def until(is_so: Any, log: Path) -> None:
    """Wait for another process, which has no event to wait for."""
    deadline = time.monotonic() + READY_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


@contextmanager
def running_node(spec: Path, base_path: Path, *more: str) -> Iterator[Node]:
    """Run a node in a process of its own until the end of the block."""
    base_path.mkdir()
    log, endpoint = base_path / "node.log", base_path / "endpoint.json"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*PROGRAM, *words(spec, base_path, *more)],
            stdout=subprocess.DEVNULL,
            stderr=stream,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
    try:
        until(lambda: endpoint.exists() or process.poll() is not None, log)
        assert endpoint.exists(), log.read_text()
        yield Node(json.loads(endpoint.read_text()), log)
    finally:
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0, log.read_text()


def test_nodes_meet_by_a_name_of_the_hosts_file_and_by_ipv6(spec: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(running_node(spec, tmp_path / "1", "--p2p-host", "localhost"))
        peer = first.endpoint["peer_id"]
        by_name = f"/dns4/localhost/tcp/{first.port}/p2p/{peer}"
        second = stack.enter_context(
            running_node(spec, tmp_path / "2", "--bootnode", by_name, "--p2p-host", "::1")
        )
        second.wait_for(peer)
        assert second.endpoint["p2p"][0].startswith("/ip6/::1/tcp/")
        third = stack.enter_context(
            running_node(spec, tmp_path / "3", "--reserved-peer", second.endpoint["p2p"][0])
        )
        third.wait_for(second.endpoint["peer_id"])


def test_a_bootnode_that_is_away_is_a_warning_with_the_reason(spec: Path, tmp_path: Path) -> None:
    away = f"/ip4/127.0.0.1/tcp/1/p2p/{STRANGER}"
    unknown = f"/dns4/nosuch.invalid/tcp/1/p2p/{STRANGER}"
    more = ("--bootnode", away, "--bootnode", unknown, "--log-level", "debug")
    with running_node(spec, tmp_path / "1", *more) as alone:
        alone.wait_for_line("WARNING", f"address={away}", "connection refused")
        alone.wait_for_line("WARNING", f"address={unknown}", "is not known here")
        lines = alone.log.read_text().splitlines()
        ours = ("node.", "p2p.", "consensus.", "ml.", "genesis.", "pallets.", "runtime.")
        loggers = {line.split()[3] for line in lines if line.startswith("20")}
        assert loggers
        assert all(logger.startswith(ours) for logger in loggers), loggers


def test_a_public_address_is_announced_before_the_others(spec: Path, tmp_path: Path) -> None:
    public = "/dns4/node.example.org/tcp/30333"
    with ExitStack() as stack:
        first = stack.enter_context(running_node(spec, tmp_path / "1", "--public-address", public))
        peer = first.endpoint["peer_id"]
        assert first.endpoint["p2p"][0] == f"{public}/p2p/{peer}"
        assert first.endpoint["p2p"][1].startswith("/ip4/127.0.0.1/tcp/")
        more = ("--bootnode", first.endpoint["p2p"][1], "--log-level", "warning,p2p.service=info")
        second = stack.enter_context(running_node(spec, tmp_path / "2", *more))
        second.wait_for(peer)
        assert "rpc-listening" not in second.log.read_text(), "that is no module of p2p.service"


def test_nodes_of_one_chain_find_each_other_on_the_local_network(
    spec: Path, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(running_node(spec, tmp_path / name, "--mdns"))
            for name in ("1", "2")
        )
        line = first.wait_for_line("local-discovery-")
        if "local-discovery-failed" in line:
            pytest.skip(f"no multicast on this machine: {line}")
        first.wait_for(second.endpoint["peer_id"])
        second.wait_for(first.endpoint["peer_id"])
