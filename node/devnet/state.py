"""The file of a devnet: its settings, its nodes, and the network that was asked for.

    FOLDER/devnet.json    this, written durably
    FOLDER/devnet.lock    locked while a command changes the devnet
    FOLDER/spec.json      the chain spec
    FOLDER/nodes/N/       base path of node N, with its log and its keeper's files

The present condition of a node is not in here: it is read from its process each time.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from ml.durable_file import write_durably
from node.devnet.errors import DevnetFileError, UnknownDevnetError, UnknownNodeError

STATE_FILE: Final = "devnet.json"
SPEC_FILE: Final = "spec.json"
NODES_FOLDER: Final = "nodes"
VERSION: Final = 1
NODES_MAX: Final = 32
ADDED_SETTINGS: Final = {"port_base": 0}
"""Settings that files of the same version may lack: they came later, with this meaning."""
FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700


class Wanted(StrEnum):
    """The condition that was last requested of a node."""

    RUNNING = "running"
    STOPPED = "stopped"
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class Settings:
    """How all nodes of a devnet run; the chain's own settings are in its spec."""

    block_time_ms: int = 1_000
    instant: bool = True
    epoch_blocks: int = 50
    executors: bool = True
    serve: bool = True
    archive: bool = False
    port_base: int = 0
    """The first of the fixed ports, two for each node; 0 lets the system choose."""

    def rpc_port(self, number: int) -> int:
        """Return the fixed port of a node for clients, 0 where the system chooses."""
        return self.port_base and self.port_base + 2 * number

    def p2p_port(self, number: int) -> int:
        """Return the fixed port of a node for other nodes, 0 where the system chooses."""
        return self.port_base and self.port_base + 2 * number + 1

    def flags(self) -> dict[str, str]:
        """Return the options of `openledger devnet up` that stand for these, by field."""
        shown = {}
        for setting in dataclasses.fields(self):
            value, name = getattr(self, setting.name), setting.name.replace("_", "-")
            if isinstance(value, bool):
                shown[setting.name] = f"--{name}" if value else f"--no-{name}"
            else:
                shown[setting.name] = f"--{name} {value}"
        return shown


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """One node. Ports and peer id are known once it has been ready, and used again after."""

    number: int
    account: str
    is_validator: bool
    wanted: Wanted = Wanted.RUNNING
    sync: str = "full"
    rpc_port: int = 0
    p2p_port: int = 0
    peer_id: str = ""


@dataclass(frozen=True, slots=True)
class DevnetState:
    """A devnet. An empty partition is a whole network."""

    name: str
    settings: Settings
    nodes: tuple[NodeRecord, ...]
    validators: int
    partition: tuple[tuple[int, ...], ...] = ()
    latency_ms: int = 0
    version: int = field(default=VERSION)

    def node(self, number: int) -> NodeRecord:
        """Return a node's record. Raises UnknownNodeError."""
        for record in self.nodes:
            if record.number == number:
                return record
        listed = ", ".join(str(record.number) for record in self.nodes)
        raise UnknownNodeError(f"The devnet has no node {number}; it has {listed or 'none'}.")

    def with_node(self, changed: NodeRecord) -> DevnetState:
        """Return the state with one node's record in place of its former one, or added."""
        others = [record for record in self.nodes if record.number != changed.number]
        nodes = sorted([*others, changed], key=lambda record: record.number)
        return dataclasses.replace(self, nodes=tuple(nodes))

    def differing_flags(self, nodes: int, settings: Settings) -> tuple[str, str]:
        """Return the flags of this devnet that others differ from, and those; both may be empty."""
        own = {"nodes": f"--nodes {self.validators}", **self.settings.flags()}
        given = {"nodes": f"--nodes {nodes}", **settings.flags()}
        names = [name for name in own if own[name] != given[name]]
        return " ".join(own[name] for name in names), " ".join(given[name] for name in names)

    def cut_off(self, number: int) -> list[str]:
        """Return the peer ids that a node may not talk to."""
        own = next((group for group in self.partition if number in group), None)
        if own is None:
            return []
        return [node.peer_id for node in self.nodes if node.number not in own and node.peer_id]


def node_folder(folder: Path, number: int) -> Path:
    """Return the base path of a node."""
    return folder / NODES_FOLDER / str(number)


def write_state(folder: Path, state: DevnetState) -> None:
    """Replace the file; a crash leaves the old one or the new one."""
    text = json.dumps(dataclasses.asdict(state), indent=2) + "\n"
    write_durably(folder / STATE_FILE, text.encode(), FILE_MODE)


def read_state(folder: Path) -> DevnetState:
    """Read the file. Raises UnknownDevnetError, DevnetFileError."""
    path = folder / STATE_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or data.get("version") != VERSION:
            raise ValueError(f"it is not of version {VERSION}")
        state: DevnetState = _decode(DevnetState, data)
    except FileNotFoundError as error:
        raise UnknownDevnetError(
            f"There is no devnet in {folder}. Start one with `openledger devnet up`."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise DevnetFileError(
            f"{path} cannot be read: {error}. Remove its folder, and start the devnet again."
        ) from error
    return state


def _decode(hint: Any, value: Any) -> Any:
    """Return a JSON value as a value of a field's hint. Raises ValueError."""
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        if isinstance(value, dict) and hint is Settings:
            value = {**ADDED_SETTINGS, **value}
        if not isinstance(value, dict) or set(value) != set(hints):
            raise ValueError(f"a {getattr(hint, '__name__', '')} has {', '.join(hints)}")
        decoded = {name: _decode(hints[name], member) for name, member in value.items()}
        return hint(**decoded)  # type: ignore[operator]
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"a list is expected, not {value!r:.50}")
        return tuple(_decode(typing.get_args(hint)[0], item) for item in value)
    if issubclass(hint, StrEnum):
        return hint(value)
    if type(value) is not hint:  # isinstance would take true for a number
        raise ValueError(f"{hint.__name__} is expected, not {value!r:.50}")
    return value
