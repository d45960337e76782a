"""One node of a devnet: the command that starts it, its endpoint, its port, its state."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from node.devnet.control_client import ControlClient
from node.devnet.errors import NodeStartError, NodeStateError, NodeStopError, PortTakenError
from node.devnet.process import Process, until
from node.devnet.state import SPEC_FILE, NodeRecord, Settings, Wanted, node_folder

READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 20.0
PAUSE_SECONDS: Final = 1.0
"""Also what `pause` costs where the system has no /proc to see that a process is frozen."""
ENDPOINT_FILE: Final = "endpoint.json"
"""As node/service/service.py writes it."""
BOOTNODES_MAX: Final = 8
LOG_LINES_QUOTED: Final = 15
ENVIRONMENT_KEPT: Final = ("OPENLEDGER_BASE_MODEL", "OPENLEDGER_THREADS", "OPENLEDGER_LOG_LEVEL")
"""Variables that a devnet passes on to its nodes; all other settings are on the command line."""
COMMAND_LINE: Final = (sys.executable, "-c", "from cli import main; main()")
PROGRAM: Final = COMMAND_LINE
"""The program of a node; tests of devnets put a lighter one there."""


class Condition(StrEnum):
    """The condition of a node's process now."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    KILLED = "killed"
    DEAD = "dead"
    """It ended without being asked to."""


@dataclass(frozen=True, slots=True)
class NodeEndpoint:
    """Where a running node listens."""

    pid: int
    rpc: str
    p2p: tuple[str, ...]
    peer_id: str
    control: Path

    @property
    def rpc_port(self) -> int:
        """The port of JSON-RPC."""
        return int(self.rpc.rpartition(":")[2])

    @property
    def p2p_port(self) -> int:
        """The port for other nodes, from /ip4/127.0.0.1/tcp/PORT/p2p/ID."""
        return int(self.p2p[0].split("/")[4])


class Member:
    """A node, by its devnet's folder and its record."""

    def __init__(self, folder: Path, record: NodeRecord) -> None:
        self.record = record
        self.number = record.number
        self.base_path = node_folder(folder, record.number)
        self.process = Process(self.base_path)
        self._spec = folder / SPEC_FILE

    def start(self, settings: Settings, bootnodes: Sequence[str]) -> None:
        """Start the node and return at once. Raises NodeStartError, PortTakenError."""
        self.base_path.mkdir(parents=True, exist_ok=True)
        if not self.process.is_alive:
            (self.base_path / ENDPOINT_FILE).unlink(missing_ok=True)
        self.process.start(self.command(settings, bootnodes), _node_environment())

    def command(self, settings: Settings, bootnodes: Sequence[str]) -> list[str]:
        """Return the command that starts the node, at its former ports where they are free.

        Raises PortTakenError where a fixed one is not.
        """
        record = self.record
        rpc_port = _fixed(settings.rpc_port(record.number)) or _free_or_any(record.rpc_port)
        p2p_port = _fixed(settings.p2p_port(record.number)) or _free_or_any(record.p2p_port)
        words = [
            *(*PROGRAM, "node", "start", "--chain", str(self._spec)),
            *("--base-path", str(self.base_path), "--name", f"node-{record.number}"),
            *("--port", str(rpc_port), "--host", "127.0.0.1"),
            *("--p2p-port", str(p2p_port), "--p2p-host", "127.0.0.1"),
            *("--account", record.account, "--sealing", "consensus", "--control"),
            *("--block-time-ms", str(settings.block_time_ms), "--no-doppelganger"),
            _switch("instant", settings.instant),
            _switch("executor", settings.executors),
            _switch("serve", settings.serve),
            _switch("archive", settings.archive),
        ]
        if record.is_validator:
            words += ["--validator", "--session-key", record.account]
        if record.sync != "full":
            words += ["--sync", record.sync]
        for address in bootnodes[:BOOTNODES_MAX]:
            words += ["--bootnode", address]
        return words

    @property
    def endpoint(self) -> NodeEndpoint | None:
        """Where it listens; None while it does not live or is not ready."""
        pid = self.process.pid
        try:
            data = json.loads((self.base_path / ENDPOINT_FILE).read_text(encoding="utf-8"))
            endpoint = NodeEndpoint(
                pid=int(data["pid"]),
                rpc=str(data["rpc"]),
                p2p=tuple(map(str, data["p2p"])),
                peer_id=str(data["peer_id"]),
                control=Path(data["control"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        # The file of an earlier process may still lie there.
        return endpoint if pid is not None and endpoint.pid == pid else None

    def wait_ready(self, seconds: float = READY_SECONDS) -> NodeEndpoint:
        """Wait until it accepts connections. Raises NodeStartError with what its log says."""
        until(lambda: self.endpoint is not None or not self.process.is_alive, seconds)
        endpoint = self.endpoint
        if endpoint is None:
            how = (
                f"was not ready within {seconds:.0f} s"
                if self.process.is_alive
                else self.process.cause_of_end()
            )
            quoted = "\n".join(self.process.log_lines(LOG_LINES_QUOTED))
            raise NodeStartError(
                f"Node {self.number} {how}. Its log {self.process.log} ends:\n{quoted}"
            )
        return endpoint

    def ready_endpoint(self) -> NodeEndpoint:
        """Return where it listens. Raises NodeStateError unless it runs."""
        condition, endpoint = self.condition, self.endpoint
        if condition is not Condition.RUNNING or endpoint is None:
            raise NodeStateError(
                f"Node {self.number} is {condition}"
                f"{' and not ready yet' if condition is Condition.RUNNING else ''}. "
                f"Bring it back with `openledger devnet {_remedy(condition)} {self.number}`."
            )
        return endpoint

    @property
    def control(self) -> ControlClient:
        """Its control socket. Raises NodeStateError unless it runs."""
        return ControlClient(self.ready_endpoint().control)

    @property
    def condition(self) -> Condition:
        """The condition of its process now."""
        if self.process.is_alive:
            return Condition.PAUSED if self.process.is_paused else Condition.RUNNING
        wanted = self.record.wanted
        return Condition.DEAD if wanted is Wanted.RUNNING else Condition(wanted)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Ask it to end, and wait. Raises NodeStopError after killing one that does not."""
        # A frozen process would receive SIGTERM only once it is unfrozen.
        self.process.signal(signal.SIGCONT, with_children=True)
        self.process.signal(signal.SIGTERM)
        if not self.process.wait_end(seconds):
            self.kill()
            raise NodeStopError(
                f"Node {self.number} did not stop within {seconds:.0f} s of SIGTERM and was "
                f"killed. Its log is {self.process.log}."
            )

    def kill(self) -> None:
        """End it and its executor process as a power cut would, and wait."""
        self.process.signal(signal.SIGKILL, with_children=True)
        assert self.process.wait_end(STOP_SECONDS), "nothing survives SIGKILL"

    def pause(self) -> None:
        """Freeze it: it keeps its connections and answers nothing."""
        self.process.signal(signal.SIGSTOP, with_children=True)
        # Its threads stop a moment after the signal; a caller may ask for its condition at once.
        until(lambda: self.process.is_paused or not self.process.is_alive, PAUSE_SECONDS)

    def resume(self) -> None:
        """Unfreeze it."""
        self.process.signal(signal.SIGCONT, with_children=True)


def _remedy(condition: Condition) -> str:
    return "resume" if condition is Condition.PAUSED else "start"


def _switch(name: str, is_on: bool) -> str:
    return f"--{name}" if is_on else f"--no-{name}"


def command_environment(url: str) -> dict[str, str]:
    """Return the environment for a command of this program that talks to a node."""
    return {**os.environ, "PYTHONPATH": _sources(), "OPENLEDGER_URL": url}


def _node_environment() -> dict[str, str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("OPENLEDGER_") or name in ENVIRONMENT_KEPT
    }
    # Nodes of one machine share its cores: one thread each for learning by default.
    environment.setdefault("OPENLEDGER_THREADS", "1")
    return {**environment, "PYTHONPATH": _sources(), "PYTHONUNBUFFERED": "1"}


def _sources() -> str:
    """Return the folder of this program's modules, also of a checkout that is not installed."""
    return str(Path(__file__).resolve().parent.parent.parent)


def check_ports(settings: Settings, nodes: int) -> None:
    """Refuse fixed ports of which one is taken. Raises PortTakenError."""
    for number in range(nodes):
        _fixed(settings.rpc_port(number))
        _fixed(settings.p2p_port(number))


def _fixed(port: int) -> int:
    """Return a fixed port, 0 where there is none. Raises PortTakenError."""
    if port and not _free_or_any(port):
        raise PortTakenError(
            f"Port {port} of 127.0.0.1 is taken by another program. End that, or take another "
            "--port-base."
        )
    return port


def _free_or_any(port: int) -> int:
    """Return the port if it is free, else 0: the system chooses another."""
    if not port:
        return 0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port
