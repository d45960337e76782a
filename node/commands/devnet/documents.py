"""The documents that the commands of `openledger devnet` print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from node.commands.base.documents import Identifier

if TYPE_CHECKING:
    from node.devnet.cluster import Cluster
    from node.devnet.report import NodeReport


@dataclass(frozen=True, slots=True)
class DevnetNode:
    """A node of a devnet; `cause` says why it is not alive or does not answer."""

    node: int
    account: str
    is_validator: bool
    state: str
    pid: Identifier | None
    best: int | None
    finalized: int | None
    peers: int | None
    url: str
    cause: str


@dataclass(frozen=True, slots=True)
class DevnetDocument:
    """A devnet and its nodes; an empty `partition` is a whole network."""

    devnet: str
    folder: str
    partition: str
    latency_ms: int
    nodes: tuple[DevnetNode, ...]


@dataclass(frozen=True, slots=True)
class DevnetUpDocument:
    """A devnet whose nodes are all final at block 3."""

    devnet: str
    folder: str
    seconds: float
    nodes: tuple[DevnetNode, ...]


@dataclass(frozen=True, slots=True)
class DevnetDownDocument:
    """A devnet of which nothing runs any more."""

    devnet: str
    folder: str
    is_removed: bool


@dataclass(frozen=True, slots=True)
class DevnetListDocument:
    """All devnets of this user and all saves."""

    devnets: tuple[str, ...]
    saves: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DevnetLogsDocument:
    """The last lines of a node's log."""

    devnet: str
    node: int
    file: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DevnetExecDocument:
    """What a command said that ran against a node."""

    devnet: str
    node: int
    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class DevnetNodeDocument:
    """What became of one node."""

    devnet: str
    node: int
    state: str


@dataclass(frozen=True, slots=True)
class DevnetNetworkDocument:
    """How the nodes of a devnet hear each other; an empty `partition` is a whole network."""

    devnet: str
    partition: str
    latency_ms: int


@dataclass(frozen=True, slots=True)
class DevnetAdvanceDocument:
    """How far a devnet was hurried; all its running nodes are final there."""

    devnet: str
    from_height: int
    to_height: int
    seconds: float


@dataclass(frozen=True, slots=True)
class DevnetSaveDocument:
    """A devnet that was copied, with its chain, keys and clock."""

    devnet: str
    save: str
    folder: str
    size_bytes: int


def devnet_document(cluster: Cluster) -> DevnetDocument:
    """Return a devnet with a report of each node, asked now."""
    from node.devnet.groups import groups_text

    nodes = tuple(_node(report) for report in cluster.report())
    state = cluster.state
    return DevnetDocument(
        devnet=cluster.name,
        folder=str(cluster.folder),
        partition=groups_text(state.partition),
        latency_ms=state.latency_ms,
        nodes=nodes,
    )


def network_document(cluster: Cluster) -> DevnetNetworkDocument:
    """Return the network that a devnet was asked for."""
    from node.devnet.groups import groups_text

    state = cluster.state
    return DevnetNetworkDocument(cluster.name, groups_text(state.partition), state.latency_ms)


def node_document(cluster: Cluster, node: int) -> DevnetNodeDocument:
    """Return the present condition of a node."""
    return DevnetNodeDocument(cluster.name, node, str(cluster.member(node).condition))


def _node(report: NodeReport) -> DevnetNode:
    return DevnetNode(
        node=report.number,
        account=report.account,
        is_validator=report.is_validator,
        state=str(report.condition),
        pid=None if report.pid is None else Identifier(report.pid),
        best=report.best,
        finalized=report.finalized,
        peers=report.peers,
        url=report.url,
        cause=report.cause,
    )
