"""`openledger node`: a node for any chain spec."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.commands.base.command import command_output
from node.commands.base.command_group import CommandGroup
from node.commands.base.output import Output
from node.commands.node.peers import bans, info, peers
from node.commands.node.running import ReadyDocument, ready_document, run_until_stopped
from node.operations.config import NodeConfig, load

if TYPE_CHECKING:
    from node.service.service import RunningNode


@click.group("node", cls=CommandGroup)
def node_command() -> None:
    """Start a node for a chain spec; see a running one and its peers."""


for command in (info, peers, bans):
    node_command.add_command(command)


@node_command.command("start")
@click.option("--config", "file", type=click.Path(path_type=Path), help="TOML file of settings.")
@click.option("--base-path", type=click.Path(path_type=Path), help="Folder of all data and keys.")
@click.option("--chain", help="A preset (dev, local) or the path of a chain spec.")
@click.option("--name", help="What the node calls itself.")
@click.option("--host", "rpc_host", help="Address to listen on; loopback unless given.")
@click.option("--port", "rpc_port", type=click.IntRange(0, 65535), help="0 lets the system choose.")
@click.option(
    "--sealing",
    type=click.Choice(["auto", "instant", "interval", "manual", "consensus"]),
    help="Author blocks solo in one of three ways, or in a network by consensus; auto is "
    "instant for the chains dev and local, consensus for others. Solo is refused "
    "on a chain that others validate.",
)
@click.option("--block-time-ms", type=int, help="Time between blocks.")
@click.option("--instant/--no-instant", default=None, help="Propose whenever there is work.")
@click.option("--validator/--no-validator", default=None, help="Vote, with the session key.")
@click.option("--session-key", help="The key that votes, in the words of --account.")
@click.option("--signer", type=click.Path(path_type=Path), help="Socket of a remote signer.")
@click.option(
    "--doppelganger/--no-doppelganger",
    default=None,
    help="Listen for votes of this validator's own key before the first vote.",
)
@click.option(
    "--p2p-host",
    help="IPv4 or IPv6 address or host name for other nodes; loopback unless given, and 0.0.0.0 "
    "or :: for all interfaces.",
)
@click.option("--p2p-port", type=click.IntRange(0, 65535), help="0 lets the system choose.")
@click.option(
    "--bootnode",
    "bootnodes",
    multiple=True,
    metavar="MULTIADDR",
    help="Node to dial first, /dns4/HOST/tcp/PORT/p2p/PEER_ID (or ip4, ip6, dns6); repeatable.",
)
@click.option(
    "--reserved-peer",
    "reserved_peers",
    multiple=True,
    metavar="MULTIADDR",
    help="Node that is always dialled, and whose slot of --peers-max is kept; repeatable.",
)
@click.option(
    "--public-address",
    "public_addresses",
    multiple=True,
    metavar="MULTIADDR",
    help="Where others reach this node, behind a router: /ip4/HOST/tcp/PORT; repeatable.",
)
@click.option(
    "--mdns/--no-mdns", default=None, help="Find nodes of this chain on the local network."
)
@click.option(
    "--peers-max", type=int, help="Connected nodes at most; a quarter is kept for validators."
)
@click.option("--sync", type=click.Choice(["full", "fast"]), help="How a new node catches up.")
@click.option("--control/--no-control", default=None, help="Open the control socket of devnets.")
@click.option("--archive/--no-archive", default=None, help="Keep the states of all blocks.")
@click.option("--state-pruning", type=int, help="Keep the states of so many final blocks. [256]")
@click.option(
    "--account", help="The node's key: its name in BASE_PATH/keys, or //Alice on devnets."
)
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    help="Opens the node's key, and the session key where it has no file of its own.",
)
@click.option(
    "--session-password-file", type=click.Path(path_type=Path), help="Opens the session key."
)
@click.option("--executor/--no-executor", default=None, help="Train and index on this machine.")
@click.option("--serve/--no-serve", default=None, help="Answer questions.")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="How log lines look.")
@click.option(
    "--log-level", help="debug, info, warning or error; of modules: info,p2p.service=debug."
)
@command_output(ReadyDocument)
def start(output: Output, file: Path | None, **flags: Any) -> None:
    """Start a node. Settings come from the file, then OPENLEDGER_*, then these options."""
    for name in ("bootnodes", "reserved_peers", "public_addresses"):
        flags[name] = flags[name] or None
    config = load(file, os.environ, flags)

    def show_ready(node: RunningNode) -> None:
        output.show(ready_document(node))
        if node.networking is not None and not config.validator and not node.bootnodes:
            output.note(_lonely(config))

    run_until_stopped(output, config, show_ready)


def _lonely(config: NodeConfig) -> str:
    """Return the warning for a node that would wait for blocks for ever without a word."""
    return (
        "Warning: this node only follows its chain, and no other node is named to it, so it gets "
        "no block until one connects to it. Name one with --bootnode (or in the spec's bootNodes), "
        "let it vote with --validator --session-key NAME, or, on a development chain that nobody "
        f"else runs, make blocks alone with --sealing instant (it is {config.sealing})."
    )
