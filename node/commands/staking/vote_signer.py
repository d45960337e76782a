"""`openledger signer`: a session key in a process of its own, for a validator that holds none."""

from __future__ import annotations

import signal
import socket as sockets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import click
import trio

from genesis.spec import load_spec
from node.commands.base.command import command_output, refuse
from node.commands.base.hangup import heeded
from node.commands.base.output import Output
from node.keys.node_keys import load_session_pair
from node.keys.remote_signer import serve_signer
from node.keys.vote_signer import SigningHistory, history_path
from node.operations import logs
from node.operations.config import LogFormat, NodeConfig
from node.operations.data_folder import chain_folder, consensus_folder, signer_folder
from runtime.codec.hexadecimal import to_hex
from runtime.crypto.keys import Keypair
from runtime.errors import first_cause
from runtime.types.primitives import Hash

SOCKET_NAME: Final = "signer.sock"
PROBE_SECONDS: Final = 2.0
"""How long to try a connection to find out whether another signer listens."""


@dataclass(frozen=True, slots=True)
class SignerDocument:
    """A signer that accepts its node; start the node with `--signer SOCKET`."""

    socket: str
    session_key: str
    genesis_hash: str
    mark: str


@click.command("signer")
@click.option(
    "--base-path",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the keys, and of the signing history.",
)
@click.option("--chain", required=True, help="A preset or the path of a chain spec.")
@click.option("--session-key", required=True, help="The key's name in BASE_PATH/keys, or //Alice.")
@click.option("--password-file", type=click.Path(path_type=Path), help="Opens the key.")
@click.option("--socket", type=click.Path(path_type=Path), help="[BASE_PATH/signer.sock]")
@click.option(
    "--log-level", default="info", show_default=True, help="As in `node start`; logs go to stderr."
)
@command_output(SignerDocument)
def signer_command(
    output: Output,
    base_path: Path,
    chain: str,
    session_key: str,
    password_file: Path | None,
    socket: Path | None,
    log_level: str,
) -> None:
    """Sign votes for one validator, which then holds no key; until Ctrl-C or SIGTERM.

    It never signs conflicting votes: its signing history survives crashes and copies of nodes.
    """
    logs.set_up(LogFormat.TEXT, log_level)
    spec = load_spec(chain)
    config = NodeConfig(base_path, chain, session_key=session_key, password_file=password_file)
    pair = load_session_pair(config, spec.chain_type)
    genesis = spec.build().hash
    path = socket or base_path / SOCKET_NAME
    _check_socket(path)
    own_path = history_path(signer_folder(base_path, spec.id), pair.account)
    node_folder = consensus_folder(chain_folder(base_path, spec.id))
    _check_handover(history_path(node_folder, pair.account), own_path)
    history = SigningHistory(own_path)

    def announce() -> None:
        document = SignerDocument(
            socket=str(path),
            session_key=to_hex(pair.account),
            genesis_hash=to_hex(genesis),
            mark=str(own_path),
        )
        output.show(document)

    try:
        trio.run(_run, path, pair, genesis, history, announce)
    except BaseExceptionGroup as group:
        raise first_cause(group) from group
    finally:
        history.close()
    output.note("Stopped.")


def _check_handover(former: Path, own: Path) -> None:
    """Refuse to begin a new signing history for a key whose node has one. Raises UsageError."""
    if former.exists() and not own.exists():
        refuse(
            f"This key has voted from its node, which remembers its votes in {former}. Stop the "
            f"node and move the mark, so that nothing is signed twice: mkdir -p {own.parent} && "
            f"mv {former} {own}"
        )


def _check_socket(path: Path) -> None:
    """Refuse a path that another program uses. Raises UsageError.

    A socket without a listener was left by a killed signer, and is replaced.
    """
    if not path.exists():
        return
    if not path.is_socket():
        refuse(f"{path} is no socket, and it stays as it is. Name another path with --socket.")
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except OSError:
            return
    refuse(
        f"Another signer listens on {path}. Stop it first, or name another path with --socket; "
        "each session key has a signer of its own."
    )


async def _run(
    path: Path, pair: Keypair, genesis: Hash, history: SigningHistory, announce: Callable[[], None]
) -> None:
    async with trio.open_nursery() as nursery:
        heard = (signal.SIGINT, *heeded(signal.SIGHUP, signal.SIGTERM))
        with trio.open_signal_receiver(*heard) as signals:
            await nursery.start(partial(serve_signer, path, pair, genesis, history))
            announce()
            async for _ in signals:
                break
            nursery.cancel_scope.cancel()
