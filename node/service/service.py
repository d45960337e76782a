"""A running node: everything it consists of, started in order and stopped in the reverse one.

Start: logs, data folder, database, chain, pool, author, network and consensus where there are
others, services over them, JSON-RPC last, so that whoever can connect meets a node that works.
Stop (cancellation, SIGTERM): the server goes first, the database is closed last; a crash at any
point loses nothing that was acknowledged.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Final, Protocol

import trio

from genesis.spec import load_spec
from ml.api.app import create_app
from ml.durable_file import write_durably
from node.authoring.author import Author
from node.authoring.sealer import AuthorSealer
from node.chain.chain import Chain
from node.chain.state_reader import StateReader
from node.jobs.executor import Executor
from node.jobs.executor_process import ExecutorProcess
from node.jobs.inputs import Inputs
from node.jobs.replicas import Replicas
from node.keys.node_keys import load_pair
from node.operations.config import ConfigError, NodeConfig, SyncMode
from node.operations.metrics import Metrics
from node.rpc.blob_routes import blob_routes
from node.rpc.feedback_routes import feedback_routes
from node.rpc.interfaces import About, Keys, Network, NoNetwork, Sealer
from node.rpc.limits import Limits
from node.rpc.namespaces.consensus import ConsensusNamespace
from node.rpc.namespaces.openledger import OpenLedger
from node.rpc.server import serve
from node.service.control_socket import serve_control
from node.service.network_metrics import NetworkCollector
from node.service.networking import NetworkControl, Networking, begin_fast, networked
from node.serving.answer_service import PaidAnswerService
from node.serving.served_models import ServedModels
from node.serving.settler import Settler
from node.storage.blob_store import BlobStore
from node.storage.database import Database
from node.storage.receipt_store import ReceiptStore
from node.transactions.pool import Pool
from node.transactions.submitter import Submitter

ENDPOINT_FILE: Final = "endpoint.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunningNode:
    """A node that accepts connections; also what the JSON-RPC server sees of it."""

    config: NodeConfig
    about: About
    chain: Chain
    pool: Pool
    author: Author
    blobs: BlobStore
    submitter: Submitter
    receipts: ReceiptStore
    sealer: Sealer | None
    folder: Path
    network: Network = field(default_factory=NoNetwork)
    networking: Networking | None = None
    """What a node of a network has more; None for a node that makes its blocks alone."""
    keys: Keys | None = None
    namespaces: tuple[object, ...] = ()
    rpc_port: int = 0

    @property
    def rpc_url(self) -> str:
        """Where WebSocket clients connect."""
        return f"ws://{_host(self.config)}:{self.rpc_port}"

    @property
    def http_url(self) -> str:
        """Where HTTP clients connect."""
        return f"http://{_host(self.config)}:{self.rpc_port}"


class Started(Protocol):
    """What trio gives to a task that is started: a way to hand over what runs now."""

    def started(self, node: RunningNode, /) -> None: ...


def version() -> str:
    """Return the version of this program."""
    try:
        return metadata.version("openledger-node")
    except metadata.PackageNotFoundError:
        return "0.0.0"


@asynccontextmanager
async def opened(config: NodeConfig) -> AsyncIterator[RunningNode]:
    """Open everything that does not run by itself; closed again in the reverse order."""
    spec = load_spec(config.chain)
    config.base_path.mkdir(parents=True, exist_ok=True)
    folder = config.base_path / "chains" / spec.id
    folder.mkdir(parents=True, exist_ok=True)
    database = await trio.to_thread.run_sync(
        lambda: Database.open(folder / "db", archive=config.archive)
    )
    try:
        blobs = await trio.to_thread.run_sync(BlobStore, folder / "blobs")
        if config.is_networked and config.sync is SyncMode.FAST:
            await begin_fast(config, spec, database, blobs, folder)
        chain = Chain(spec, database)
        pool = Pool(chain)
        author = Author(chain, pool, config.sealing, config.block_time_ms)
        is_authority = config.validator or not config.is_networked
        about = About(
            name=config.name,
            version=version(),
            chain_type=spec.chain_type,
            properties=dict(spec.properties),
            roles=("Authority" if is_authority else "Full",),
        )
        submitter = Submitter(chain, pool, load_pair(config, spec.chain_type))
        receipts = ReceiptStore(folder / "receipts.sqlite3")
        sealer = None if config.is_networked else AuthorSealer(author, chain, pool)
        node = RunningNode(
            config, about, chain, pool, author, blobs, submitter, receipts, sealer, folder
        )
        try:
            if config.is_networked:
                async with networked(config, spec, chain, pool, blobs, folder) as networking:
                    yield replace(node, network=networking.view, networking=networking)
            else:
                yield node
        finally:
            receipts.close()
            chain.close()
    finally:
        database.close()


async def run_node(
    config: NodeConfig,
    *,
    task_status: Started = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a node until cancelled. Raises ConfigError, DatabaseError, ChainError, ListenError."""
    async with opened(config) as node, trio.open_nursery() as nursery:
        if node.networking is not None:
            await node.networking.run(nursery)
        control = await _open_control(node, nursery) if config.control else None
        metrics = Metrics()
        node.author.on_sealed.append(metrics.observe_block)
        reader = StateReader(node.chain)
        worker = ExecutorProcess(config.threads)
        networking = node.networking
        fetcher = None if networking is None else networking.fetcher
        inputs = Inputs(reader, node.blobs, fetcher)
        executor = Executor(
            node.chain,
            reader,
            node.submitter,
            node.blobs,
            inputs,
            worker,
            node.folder,
            config.base_model,
        )
        models = ServedModels(reader, node.blobs, inputs, node.folder / "served", config.base_model)
        answers = PaidAnswerService(node.chain, reader, node.submitter, node.receipts, models)
        settler = Settler(node.chain, reader, node.submitter, node.receipts, node.blobs)
        namespaces: list[object] = [
            OpenLedger(node.submitter.account, node.author, executor, settler, node.receipts)
        ]
        if node.networking is not None:
            namespaces.append(ConsensusNamespace(node.chain, node.networking.participant))
            metrics.watch(NetworkCollector(node.networking))
        node = replace(node, namespaces=tuple(namespaces))
        routes = [
            *blob_routes(node.blobs, fetcher),
            *feedback_routes(node.receipts),
            *create_app(answers).routes,
        ]
        endpoint = await nursery.start(
            partial(
                serve, node, config.rpc_host, config.rpc_port, Limits(), routes, metrics=metrics
            )
        )
        node = replace(node, rpc_port=endpoint.port)
        if node.networking is None:
            nursery.start_soon(node.author.run_until_halted)
        if config.executor:
            nursery.start_soon(executor.run)
        if fetcher is not None:
            account = node.submitter.account
            replicas = Replicas(
                node.chain, reader, fetcher, inputs, node.blobs, node.receipts, account
            )
            nursery.start_soon(replicas.run)
        if config.serve:
            nursery.start_soon(answers.run)
            nursery.start_soon(settler.run)
        _write_endpoint(node, control)
        logger.info("node-started chain=%s url=%s", node.chain.spec.id, node.rpc_url)
        task_status.started(node)


async def _open_control(node: RunningNode, nursery: trio.Nursery) -> Path:
    """Open the control socket of a devnet's node. Raises ConfigError, ControlRefusedError."""
    if node.networking is None:
        raise ConfigError("A node that makes its blocks alone has no network to control.")
    path: Path = await nursery.start(
        serve_control, node.config.base_path, node.about.chain_type, NetworkControl(node.networking)
    )
    return path


def _write_endpoint(node: RunningNode, control: Path | None) -> None:
    """Tell other programs on this machine where the node listens."""
    path = node.config.base_path / ENDPOINT_FILE
    text: dict[str, object] = {"rpc": node.rpc_url, "http": node.http_url, "pid": os.getpid()}
    if node.networking is not None:
        text["p2p"] = list(node.network.listen_addresses)
        text["peer_id"] = node.network.peer_id
    if control is not None:
        text["control"] = str(control)
    write_durably(path, json.dumps(text).encode())


def _host(config: NodeConfig) -> str:
    return "127.0.0.1" if config.rpc_host in ("0.0.0.0", "::") else config.rpc_host  # noqa: S104
