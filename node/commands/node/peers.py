"""`openledger node info | peers | bans`: a running node, and the others that it is connected to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import click

from node.client import Client, RequestRefusedError
from node.commands.base.command import command_output, pass_client, refuse
from node.commands.base.output import Output
from runtime.codec.hexadecimal import to_hex

METHOD_NOT_FOUND: Final = -32601


@dataclass(frozen=True, slots=True)
class NodeInfoDocument:
    """A node as it describes itself; `peer_id` and addresses are absent where it has no network."""

    name: str
    version: str
    chain: str
    chain_type: str
    genesis_hash: str
    roles: tuple[str, ...]
    peer_id: str | None
    listen_addresses: tuple[str, ...]
    peers: int
    is_syncing: bool
    best_number: int
    finalized_number: int


@dataclass(frozen=True, slots=True)
class PeerLine:
    """A connected node. `score` is 0 without faults; -100 bans it."""

    peer_id: str
    agent: str
    role: str
    direction: str
    best: int
    final: int
    ping_ms: float | None
    score: float
    address: str


@dataclass(frozen=True, slots=True)
class PeersDocument:
    """The connected nodes."""

    peers: tuple[PeerLine, ...]


@dataclass(frozen=True, slots=True)
class BanLine:
    """A peer that is refused, the fault that did it, and for how long still."""

    peer_id: str
    fault: str
    seconds_left: float


@dataclass(frozen=True, slots=True)
class BansDocument:
    """The peers that are banned now. Bans end by time, and with a restart of the node."""

    bans: tuple[BanLine, ...]


@click.command("info")
@command_output(NodeInfoDocument)
@pass_client
def info(output: Output, client: Client) -> NodeInfoDocument:
    """Show what a running node is: name, version, chain, role, addresses."""
    status = client.info()
    return NodeInfoDocument(
        name=status.node_name,
        version=status.node_version,
        chain=status.chain,
        chain_type=client.call("system_chainType"),
        genesis_hash=to_hex(status.genesis_hash),
        roles=tuple(client.call("system_nodeRoles")),
        peer_id=client.call("system_localPeerId") or None,
        listen_addresses=tuple(client.call("system_localListenAddresses")),
        peers=status.peers,
        is_syncing=status.is_syncing,
        best_number=status.best.number,
        finalized_number=status.finalized.number,
    )


@click.command("peers")
@command_output(PeersDocument)
@pass_client
def peers(output: Output, client: Client) -> PeersDocument:
    """List the nodes that a running node is connected to."""
    network = _network(output, client)
    lines = tuple(_peer(peer) for peer in network.get("peers", ()))
    if not lines and network:
        output.note(
            "No node is connected. Check --bootnode and the firewall; its log names the reason of "
            "each dial that failed."
        )
    return PeersDocument(lines)


@click.command("bans")
@command_output(BansDocument)
@pass_client
def bans(output: Output, client: Client) -> BansDocument:
    """List the peers that a running node refuses for their faults, and for how long still."""
    network = _network(output, client)
    lines = tuple(
        BanLine(ban["peerId"], ban["fault"], ban["secondsLeft"]) for ban in network.get("bans", ())
    )
    if not lines and network:
        output.note("Nobody is banned.")
    return BansDocument(lines)


def _network(output: Output, client: Client) -> dict[str, Any]:
    try:
        network: dict[str, Any] = client.call("openledger_network")
    except RequestRefusedError as error:
        if error.code != METHOD_NOT_FOUND:
            raise
        if client.call("system_localPeerId"):  # a solo node has no id among peers
            refuse(
                "This is no node of OpenLedger: it has peers, and does not know the method "
                "openledger_network. Name another by --url."
            )
        output.note("This node makes its blocks alone, so it has no peers.")
        return {}
    return network


def _peer(peer: dict[str, Any]) -> PeerLine:
    ping = peer["pingSeconds"]
    return PeerLine(
        peer_id=peer["peerId"],
        agent=peer["agent"],
        role="validator" if peer["isValidator"] else "full",
        direction="in" if peer["isInbound"] else "out",
        best=peer["bestNumber"],
        final=peer["finalizedNumber"],
        ping_ms=None if ping is None else round(ping * 1_000, 1),
        score=peer["score"],
        address=peer["address"],
    )
