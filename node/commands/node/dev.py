"""`openledger dev`: a development node with instant blocks and funded accounts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from node.commands.base.command import command_output
from node.commands.base.output import Output
from node.commands.node.running import ReadyDocument, ready_document, run_until_stopped
from node.operations.config import load

if TYPE_CHECKING:
    from node.service.service import RunningNode

DEFAULT_LOG_LEVEL: Final = "warning"


@click.command("dev")
@click.option("--base-path", type=click.Path(path_type=Path), help="Keep the data in this folder.")
@click.option("--port", "rpc_port", type=click.IntRange(0, 65535), help="0 lets the system choose.")
@click.option("--sealing", type=click.Choice(["instant", "interval", "manual"]), help="When.")
@click.option("--block-time-ms", type=int, help="Time between blocks when nothing happens.")
@click.option("--archive/--no-archive", default=None, help="Keep the states of all blocks.")
@click.option("--state-pruning", type=int, help="Keep the states of so many final blocks. [256]")
@click.option("--executor/--no-executor", default=None, help="Train and index on this machine.")
@click.option("--serve/--no-serve", default=None, help="Answer questions.")
@click.option(
    "--log-level",
    help="As in `node start`; logs go to stderr.  [default: OPENLEDGER_LOG_LEVEL, else warning]",
)
@command_output(ReadyDocument)
def dev_command(output: Output, base_path: Path | None, **flags: Any) -> None:
    """Start a development node: instant blocks, //Alice to //Ferdie funded, RPC on port 9944.

    Its data is in a temporary folder that is removed at the end, unless --base-path names one.
    """

    def print_ready(node: RunningNode) -> None:
        document = ready_document(node)
        if output.as_json:
            output.show(document)
            return
        output.say(f"Ready: {document.url} ({document.chain}, block {document.best_number})")
        output.note("//Alice to //Ferdie have 10,000,000 OPEN each. Ctrl-C stops the node.")

    with _folder(base_path) as folder:
        given = {**flags, "base_path": folder, "chain": "dev"}
        environment = {"OPENLEDGER_LOG_LEVEL": DEFAULT_LOG_LEVEL, **os.environ}
        run_until_stopped(output, load(None, environment, given), print_ready)


@contextmanager
def _folder(base_path: Path | None) -> Iterator[Path]:
    if base_path is not None:
        yield base_path
        return
    with tempfile.TemporaryDirectory(prefix="openledger-dev-") as folder:
        yield Path(folder)
