"""`openledger devnet`: a cluster of real nodes on this machine, to disturb and to heal.

The nodes are processes without a container. They outlive the command that starts them; every
command finds them by the devnet's --name. See node/devnet for how.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from node.commands.base.command import command_output, confirm, refuse, yes_option
from node.commands.base.command_group import CommandGroup
from node.commands.base.output import Output
from node.commands.devnet.documents import (
    DevnetAdvanceDocument,
    DevnetDocument,
    DevnetDownDocument,
    DevnetExecDocument,
    DevnetListDocument,
    DevnetLogsDocument,
    DevnetNetworkDocument,
    DevnetNodeDocument,
    DevnetSaveDocument,
    DevnetUpDocument,
    devnet_document,
    network_document,
    node_document,
)
from node.commands.devnet.foreground import follow_log, stay, take_down

if TYPE_CHECKING:
    from node.devnet.cluster import Cluster
    from node.devnet.state import Settings

NODES: Final = 4
LOG_LINES: Final = 50
LOG_LINES_MAX: Final = 10_000
named = click.option(
    "--name", envvar="OPENLEDGER_DEVNET", default="default", show_default=True, help="The devnet."
)
numbered = click.argument("node", type=click.IntRange(0))


@click.group("devnet", cls=CommandGroup)
def devnet_command() -> None:
    """Run a cluster of nodes here: kill, pause, partition, delay, advance, save."""


# ------------------------------------------------------------------------------- up, down, look


@devnet_command.command("up")
@click.option("--nodes", type=click.IntRange(1, 32), help="Validators. [4]")
@named
@click.option("--block-time-ms", type=click.IntRange(10, 60_000), help="[1000]")
@click.option("--instant/--no-instant", default=None, help="Propose when there is work. [yes]")
@click.option("--epoch-blocks", type=click.IntRange(5, 100_000), help="[50]")
@click.option("--executors/--no-executors", default=None, help="Train and index. [yes]")
@click.option("--serve/--no-serve", default=None, help="Answer questions. [yes]")
@click.option("--archive/--no-archive", default=None, help="Keep the states of all blocks. [no]")
@click.option(
    "--port-base",
    type=click.IntRange(1_024, 65_000),
    help="Fixed ports: node i has this + 2i for clients and the next for other nodes. [any free]",
)
@click.option("--keep-folder", type=click.Path(path_type=Path), help="Put the devnet there.")
@click.option("--foreground", is_flag=True, help="Stay until Ctrl-C; then as `down`.")
@command_output(DevnetUpDocument)
def up(
    output: Output,
    nodes: int | None,
    name: str,
    keep_folder: Path | None,
    foreground: bool,
    **options: Any,
) -> DevnetUpDocument | None:
    """Start a devnet; returns when block 3 is final on all nodes.

    A devnet that is down and kept (made with --keep-folder, or taken down with --keep) is started
    again with its chain and its options, which need not be repeated. What stands in brackets is for
    a new one.
    """
    from node.devnet import folders
    from node.devnet.cluster import Cluster

    began = time.monotonic()
    folder = folders.folder_of(name) if keep_folder is None else keep_folder.resolve()
    nodes, settings = _options_of(folder, nodes, options)
    Cluster.check_new(folder, nodes, settings)
    if keep_folder is not None:
        folders.link(name, keep_folder)
    cluster = Cluster.up(folder=folder, name=name, nodes=nodes, settings=settings, say=output.note)
    nodes_now = devnet_document(cluster).nodes
    seconds = round(time.monotonic() - began, 2)
    document = DevnetUpDocument(name, str(folder), seconds, nodes_now)
    if not foreground:
        return document
    stay(output, cluster, name, document, is_kept=folders.is_linked(name))
    return None


def _options_of(
    folder: Path, nodes: int | None, options: Mapping[str, Any]
) -> tuple[int, Settings]:
    """Return size and settings: those given, over those of a devnet that is there, or defaults."""
    from node.devnet.errors import UnknownDevnetError
    from node.devnet.state import Settings, read_state

    given = {name: value for name, value in options.items() if value is not None}
    try:
        state = read_state(folder)
    except UnknownDevnetError:
        return nodes or NODES, Settings(**given)
    return nodes or state.validators, replace(state.settings, **given)


@devnet_command.command("down")
@named
@click.option(
    "--keep/--purge",
    default=None,
    help="Keep or remove its data. [remove, unless `up` was given --keep-folder]",
)
@yes_option
@command_output(DevnetDownDocument)
def down(output: Output, name: str, keep: bool | None, yes: bool) -> DevnetDownDocument:
    """Stop a devnet and remove its chain.

    The chain is kept with --keep, or where `up` was given --keep-folder. On a terminal you are
    asked before it is removed, unless you said --purge.
    """
    from node.devnet import folders

    cluster = _cluster(name)
    is_kept = folders.is_linked(name) if keep is None else keep
    confirm(
        f"Stop the devnet {name} and remove its chain in {cluster.folder} for good? --keep keeps "
        "it.",
        is_given=yes or is_kept or keep is False,
        needs_terminal=True,
    )
    take_down(cluster, name, is_kept=is_kept)
    return DevnetDownDocument(name, str(cluster.folder), not is_kept)


@devnet_command.command("status")
@named
@command_output(DevnetDocument)
def status(output: Output, name: str) -> DevnetDocument:
    """Show the nodes of a devnet: what they do, how far they are, why one died."""
    return devnet_document(_cluster(name))


@devnet_command.command("list")
@command_output(DevnetListDocument)
def list_(output: Output) -> DevnetListDocument:
    """List devnets and saves."""
    from node.devnet import folders

    return DevnetListDocument(tuple(folders.names()), tuple(folders.save_names()))


@devnet_command.command("logs")
@numbered
@named
@click.option(
    "-n", "count", default=LOG_LINES, type=click.IntRange(0, LOG_LINES_MAX), help="Lines."
)
@click.option("-f", "follow", is_flag=True, help="Go on until Ctrl-C.")
@command_output(DevnetLogsDocument)
def logs(
    output: Output, node: int, name: str, count: int, follow: bool
) -> DevnetLogsDocument | None:
    """Show the end of a node's log."""
    process = _cluster(name).member(node).process
    if follow and output.as_json:
        refuse("A log that is followed is no JSON object. Leave out --json or -f.")
    size = process.log.stat().st_size if process.log.exists() else 0
    lines = tuple(process.log_lines(count))
    if output.as_json:
        return DevnetLogsDocument(name, node, str(process.log), lines)
    for line in lines:
        output.say(line)
    if follow:
        follow_log(output, process.log, size)
    return None


@devnet_command.command("exec", context_settings={"ignore_unknown_options": True})
@numbered
@click.argument("words", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@named
@command_output(DevnetExecDocument)
def exec_(
    output: Output, node: int, words: tuple[str, ...], name: str
) -> DevnetExecDocument | None:
    """Run an openledger command against a node, such as: exec 0 -- status --explain."""
    from node.devnet.member import COMMAND_LINE, command_environment

    environment = command_environment(_cluster(name).url(node))
    command = [*COMMAND_LINE, *words]
    if output.as_json:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return DevnetExecDocument(
            devnet=name,
            node=node,
            exit_code=done.returncode,
            stdout=done.stdout,
            stderr=done.stderr,
        )
    sys.stdout.flush()
    sys.exit(subprocess.run(command, env=environment, check=False).returncode)


# ----------------------------------------------------------------------------------- single nodes


def _add_node_command(word: str, text: str, act: Callable[[Cluster, int], None]) -> None:
    """Add a command that acts on one node and prints the condition that it has then."""

    @command_output(DevnetNodeDocument)
    def run(output: Output, node: int, name: str) -> DevnetNodeDocument:
        cluster = _cluster(name)
        act(cluster, node)
        return node_document(cluster, node)

    devnet_command.command(word, help=text)(numbered(named(run)))


# Lambdas, because the class Cluster is imported only when a command runs: help must be quick.
for word, text, act in (
    (
        "kill",
        "Kill a node with SIGKILL, as a power cut would.",
        lambda cluster, node: cluster.kill(node),
    ),
    (
        "stop",
        "Stop a node with SIGTERM, and wait for its end.",
        lambda cluster, node: cluster.stop(node),
    ),
    (
        "pause",
        "Freeze a node with SIGSTOP; its connections stay open.",
        lambda cluster, node: cluster.pause(node),
    ),
    ("resume", "Let a frozen node go on.", lambda cluster, node: cluster.resume(node)),
):
    _add_node_command(word, text, act)


@devnet_command.command("start")
@click.argument("node", type=click.IntRange(0), required=False)
@click.option("--all", "is_all", is_flag=True, help="Every node that does not run.")
@named
@command_output(DevnetNodeDocument, DevnetDocument)
def start(
    output: Output, node: int | None, is_all: bool, name: str
) -> DevnetNodeDocument | DevnetDocument:
    """Start a node that is stopped, killed or dead; --all starts all of them."""
    if (node is None) != is_all:
        refuse("Say which: a node's number, or --all.")
    cluster = _cluster(name)
    if node is not None:
        cluster.start(node)
        return node_document(cluster, node)
    if not cluster.start_all(output.note):
        output.note("All nodes run.")
    return devnet_document(cluster)


@devnet_command.command("add")
@named
@click.option("--validator", is_flag=True, help="Bond, register its key, and vote once elected.")
@click.option("--sync", default="full", show_default=True, type=click.Choice(["full", "fast"]))
@command_output(DevnetNodeDocument)
def add(output: Output, name: str, validator: bool, sync: str) -> DevnetNodeDocument:
    """Start one more node, which catches up with the chain."""
    cluster = _cluster(name)
    return node_document(cluster, cluster.add(validator=validator, sync=sync))


@devnet_command.command("remove")
@numbered
@named
@yes_option
@command_output(DevnetNodeDocument)
def remove(output: Output, node: int, name: str, yes: bool) -> DevnetNodeDocument:
    """Stop a node and delete its data.

    A validator's stake goes on counting on chain.
    """
    cluster = _cluster(name)
    folder = cluster.member(node).base_path
    confirm(f"Stop node {node} and delete {folder} for good?", is_given=yes, needs_terminal=True)
    cluster.remove(node)
    return DevnetNodeDocument(name, node, "removed")


# ----------------------------------------------------------------------------------- the network


@devnet_command.command("partition")
@click.argument("groups")
@named
@command_output(DevnetNetworkDocument)
def partition(output: Output, groups: str, name: str) -> DevnetNetworkDocument:
    """Let nodes hear only their own group, for example: partition "0,1|2,3"."""
    from node.devnet.groups import parse_groups

    cluster = _cluster(name)
    cluster.partition(*parse_groups(groups, cluster.nodes))
    return network_document(cluster)


@devnet_command.command("heal")
@named
@command_output(DevnetNetworkDocument)
def heal(output: Output, name: str) -> DevnetNetworkDocument:
    """Let all nodes hear all others, without delay."""
    cluster = _cluster(name)
    cluster.heal()
    return network_document(cluster)


@devnet_command.command("latency")
@click.argument("latency_ms", metavar="MS", type=click.IntRange(0, 60_000))
@named
@command_output(DevnetNetworkDocument)
def latency(output: Output, latency_ms: int, name: str) -> DevnetNetworkDocument:
    """Hold every message between nodes for MS milliseconds; 0 ends it."""
    cluster = _cluster(name)
    cluster.latency(latency_ms)
    return network_document(cluster)


# -------------------------------------------------------------------------------- time and copies


@devnet_command.command("advance")
@named
@click.option("--blocks", type=click.IntRange(1, 100_000), help="That many blocks more.")
@click.option("--eras", type=click.IntRange(1, 1_000), help="Into that many eras after this one.")
@command_output(DevnetAdvanceDocument)
def advance(
    output: Output, name: str, blocks: int | None, eras: int | None
) -> DevnetAdvanceDocument:
    """Hurry: have real blocks made at once, on which the whole cluster agrees."""
    cluster = _cluster(name)
    if (blocks is None) == (eras is None):
        refuse("Say how far: --blocks N or --eras N.")
    if blocks is None:
        blocks = _blocks_until(cluster, eras or 0)
    done = cluster.advance(blocks)
    return DevnetAdvanceDocument(name, done.from_height, done.to_height, round(done.seconds, 2))


@devnet_command.command("save")
@click.argument("save_name", metavar="SAVE")
@named
@command_output(DevnetSaveDocument)
def save(output: Output, save_name: str, name: str) -> DevnetSaveDocument:
    """Copy a devnet with its history; its nodes are stopped meanwhile."""
    from node.devnet import folders

    target = folders.save_of(save_name)
    size = _cluster(name).save(target)
    return DevnetSaveDocument(name, save_name, str(target), size)


@devnet_command.command("load")
@click.argument("save_name", metavar="SAVE")
@named
@yes_option
@command_output(DevnetDocument)
def load(output: Output, save_name: str, name: str, yes: bool) -> DevnetDocument:
    """Replace a devnet and its chain by a save, and start its nodes."""
    from node.devnet import folders, snapshot
    from node.devnet.cluster import Cluster

    source, folder = folders.save_of(save_name), folders.folder_of(name)
    snapshot.check_there(source)
    if name in folders.names():
        confirm(
            f"There is a devnet {name}. Stop it and replace its chain by that of {save_name}? What "
            "was not saved is lost: keep it with `openledger devnet save NEW`.",
            is_given=yes,
        )
    return devnet_document(Cluster.load(source, folder, name, output.note))


# --------------------------------------------------------------------------------------- internal


def _cluster(name: str) -> Cluster:
    from node.devnet.cluster import Cluster
    from node.devnet.folders import open_folder

    return Cluster(open_folder(name))


def _blocks_until(cluster: Cluster, eras: int) -> int:
    from node.devnet.errors import NodeStateError
    from node.devnet.ledger import height_of_era

    running = cluster.running()
    if not running:
        raise NodeStateError("No node runs. Start one with `openledger devnet start 0`.")
    node = max(running, key=cluster.finalized)
    with cluster.client(node) as client:
        return max(1, height_of_era(client, eras) - cluster.finalized(node))
