"""A running node: everything it consists of, started in order and stopped in the reverse one.

Start: logs, data folder, database, chain, pool, author, network and consensus where there are
others, services over them, JSON-RPC last, so that a client that can connect meets a whole node.
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
from pathlib import Path
from typing import Final, Protocol

import trio
from starlette.routing import BaseRoute

from genesis.spec import ChainSpec, load_spec
from ml.api.app import create_app
from ml.durable_file import write_durably
from node.authoring.author import Author
from node.authoring.sealer import AuthorSealer
from node.chain.chain import Chain
from node.chain.state_reader import StateReader
from node.jobs.executor import Executor
from node.jobs.executor_process import ExecutorProcess
from node.jobs.inputs import Inputs
from node.jobs.presence import Presence
from node.jobs.replicas import Replicas
from node.keys.node_keys import load_pair, load_session_pair
from node.operations.config import NodeConfig, SyncMode
from node.operations.data_folder import (
    BLOBS_FOLDER,
    DATABASE_FOLDER,
    RECEIPTS_FILE,
    SERVED_FOLDER,
    chain_folder,
)
from node.operations.metrics import Metrics
from node.operations.version import full_version
from node.rpc.blob_routes import blob_routes
from node.rpc.connections import check_can_listen
from node.rpc.feedback_routes import feedback_routes
from node.rpc.interfaces import About, Keys, NoNetwork, RpcNetwork, Sealer
from node.rpc.limits import Limits
from node.rpc.namespaces.consensus import ConsensusNamespace
from node.rpc.namespaces.network import NetworkNamespace
from node.rpc.namespaces.openledger import OpenLedger
from node.rpc.server import serve
from node.service.control_socket import serve_control
from node.service.health import NodeHealth
from node.service.network_metrics import NetworkCollector
from node.service.networking import NetworkControl, Networking, begin_fast, networked
from node.service.solo_check import check_solo_author
from node.service.start_checks import check_control
from node.serving.answer_service import PaidAnswerService
from node.serving.epoch_closer import EpochCloser
from node.serving.redeemer import Redeemer, RedeemSettings
from node.serving.served_models import ServedModels
from node.serving.text_shower import TextShower
from node.storage.blob_store import BlobStore
from node.storage.database import Database
from node.storage.folder_swap import put_back
from node.storage.receipt_store import ReceiptStore
from node.sync.blob_fetcher import BlobFetcher
from node.transactions.pool import Pool
from node.transactions.submitter import Submitter
from runtime.shared.receipts import SignedReceipt
from runtime.types.primitives import AccountId

ENDPOINT_FILE: Final = "endpoint.json"
"""Frozen: devnets read it (node/devnet/member.py), which import nothing of a running node."""

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
    network: RpcNetwork = field(default_factory=NoNetwork)
    networking: Networking | None = None
    """The networked part; None for a node with a solo author."""
    bootnodes: tuple[str, ...] = ()
    """The nodes that are dialled first: of the chain's spec and of the configuration."""
    keys: Keys | None = None
    namespaces: tuple[object, ...] = ()
    rpc_port: int = 0

    @property
    def health(self) -> NodeHealth:
        """The problems of the node, looked for when they are asked for."""
        return NodeHealth(self.chain.database, self.author, self.networking)

    @property
    def rpc_url(self) -> str:
        """Where WebSocket clients connect."""
        return f"ws://{_host(self.config)}:{self.rpc_port}"

    @property
    def http_url(self) -> str:
        """Where HTTP clients connect."""
        return f"http://{_host(self.config)}:{self.rpc_port}"


class Started(Protocol):
    """The part of trio's task status that a node uses: it hands over the node that runs now."""

    def started(self, node: RunningNode, /) -> None: ...


@asynccontextmanager
async def opened(config: NodeConfig) -> AsyncIterator[RunningNode]:
    """Open everything that does not run by itself; closed again in the reverse order."""
    spec = load_spec(config.chain)
    # The keys first: a start that is refused for them leaves nothing of the chain behind.
    pair = load_pair(config, spec.chain_type)
    if config.is_networked and config.validator and config.signer is None:
        load_session_pair(config, spec.chain_type)
    config.base_path.mkdir(parents=True, exist_ok=True)
    folder = chain_folder(config.base_path, spec.id)
    put_back(folder)
    folder.mkdir(parents=True, exist_ok=True)
    database = await trio.to_thread.run_sync(
        lambda: Database.open(
            folder / DATABASE_FOLDER,
            archive=config.archive,
            history_blocks=config.state_pruning,
        )
    )
    try:
        blobs = await trio.to_thread.run_sync(BlobStore, folder / BLOBS_FOLDER)
        if config.is_networked and config.sync is SyncMode.FAST:
            await begin_fast(config, spec, database, blobs=blobs, folder=folder)
        chain = Chain(spec, database)
        if not config.is_networked:
            check_solo_author(chain, config, pair.account)
        pool = Pool(chain)
        author = Author(
            chain, pool, config.sealing, config.block_time_ms, account=AccountId(pair.account)
        )
        about = await _about(config, spec)
        submitter = Submitter(chain, pool, pair)
        receipts = ReceiptStore(folder / RECEIPTS_FILE)
        sealer = None if config.is_networked else AuthorSealer(author, chain, pool)
        node = RunningNode(
            config=config,
            about=about,
            chain=chain,
            pool=pool,
            author=author,
            blobs=blobs,
            submitter=submitter,
            receipts=receipts,
            sealer=sealer,
            folder=folder,
            bootnodes=(*spec.boot_nodes, *config.bootnodes),
        )
        try:
            if config.is_networked:
                async with networked(
                    config, spec, chain, pool=pool, blobs=blobs, folder=folder
                ) as networking:
                    yield replace(node, network=networking.view, networking=networking)
            else:
                yield node
        finally:
            receipts.close()
            chain.close()
    finally:
        database.close()


async def _about(config: NodeConfig, spec: ChainSpec) -> About:
    """Return what the node says of itself; git is asked for the commit."""
    is_authority = config.validator or not config.is_networked
    return About(
        name=config.name,
        version=await trio.to_thread.run_sync(full_version),
        chain_type=spec.chain_type,
        properties=dict(spec.properties),
        roles=("Authority" if is_authority else "Full",),
    )


@dataclass(frozen=True, slots=True)
class _Serving:
    """What answers questions, and draws and settles what answers cost."""

    answers: PaidAnswerService
    redeemer: Redeemer
    epoch_closer: EpochCloser
    text_shower: TextShower


@dataclass(frozen=True, slots=True)
class _Services:
    """The services over an open node; none of them runs yet."""

    executor: Executor
    serving: _Serving
    replicas: Replicas | None
    """None for a node without a network, which has no peers to fetch from."""
    routes: list[BaseRoute]
    metrics: Metrics

    def start(self, config: NodeConfig, nursery: trio.Nursery) -> None:
        """Start what the configuration asks for; it ends with the nursery."""
        if config.executor:
            nursery.start_soon(self.executor.run)
        if self.replicas is not None:
            nursery.start_soon(self.replicas.run)
        if config.serve:
            nursery.start_soon(self.serving.answers.run)
            nursery.start_soon(self.serving.redeemer.run)
            nursery.start_soon(self.serving.epoch_closer.run)
            nursery.start_soon(self.serving.text_shower.run)


def _services(node: RunningNode) -> _Services:
    """Make the services over an open node."""
    blobs, reader = node.blobs, StateReader(node.chain)
    fetcher = None if node.networking is None else node.networking.fetcher
    inputs = Inputs(reader, blobs, node.chain.genesis_hash, fetcher)
    serving = _serving(node, reader, inputs)
    metrics = Metrics()
    node.author.on_sealed.append(metrics.observe_block)
    if node.networking is not None:
        metrics.watch(NetworkCollector(node.networking))
    return _Services(
        executor=_executor(node, reader, inputs),
        serving=serving,
        replicas=None if fetcher is None else _replicas(node, reader, inputs, fetcher),
        routes=[
            *blob_routes(blobs, fetcher),
            *feedback_routes(node.receipts),
            *create_app(serving.answers).routes,
        ],
        metrics=metrics,
    )


def _serving(node: RunningNode, reader: StateReader, inputs: Inputs) -> _Serving:
    """Make what answers, and what draws and settles what answers cost."""
    config, chain, submitter = node.config, node.chain, node.submitter
    redeemer = Redeemer(
        chain=chain,
        reader=reader,
        submitter=submitter,
        receipts=node.receipts,
        settings=RedeemSettings(config.redeem_planck, config.redeem_blocks),
    )
    epoch_closer = EpochCloser(
        chain=chain,
        reader=reader,
        submitter=submitter,
        receipts=node.receipts,
        blobs=node.blobs,
        redeemer=redeemer,
    )

    def record(signed: SignedReceipt) -> None:
        redeemer.record(signed)
        epoch_closer.record(signed)

    answers = PaidAnswerService(
        chain=chain,
        reader=reader,
        submitter=submitter,
        receipts=node.receipts,
        models=ServedModels(
            reader=reader,
            blobs=node.blobs,
            inputs=inputs,
            folder=node.folder / SERVED_FOLDER,
            base_model=config.base_model,
        ),
        redeem_blocks=config.redeem_blocks,
        on_recorded=record,
        owed_planck=redeemer.owed_planck,
        open_receipts=epoch_closer.open_receipts,
    )
    text_shower = TextShower(
        chain=chain,
        reader=reader,
        submitter=submitter,
        receipts=node.receipts,
        blobs=node.blobs,
    )
    return _Serving(answers, redeemer, epoch_closer, text_shower)


def _executor(node: RunningNode, reader: StateReader, inputs: Inputs) -> Executor:
    config = node.config
    presence = Presence(
        chain=node.chain,
        reader=reader,
        submitter=node.submitter,
        folder=node.folder,
        base_model=config.base_model,
        threads=config.threads,
    )
    return Executor(
        chain=node.chain,
        reader=reader,
        submitter=node.submitter,
        blobs=node.blobs,
        inputs=inputs,
        process=ExecutorProcess(config.threads),
        folder=node.folder,
        presence=presence,
        base_model=config.base_model,
    )


def _replicas(
    node: RunningNode, reader: StateReader, inputs: Inputs, fetcher: BlobFetcher
) -> Replicas:
    return Replicas(
        chain=node.chain,
        reader=reader,
        fetcher=fetcher,
        rows=inputs,
        blobs=node.blobs,
        receipts=node.receipts,
        account=node.submitter.account,
    )


def _namespaces(node: RunningNode, services: _Services) -> tuple[object, ...]:
    """Return the JSON-RPC namespaces that only this chain's nodes have."""
    own = OpenLedger(
        account=node.submitter.account,
        author=node.author,
        executor=services.executor,
        epoch_closer=services.serving.epoch_closer,
        receipts=node.receipts,
        health=node.health,
    )
    if node.networking is None:
        return (own,)
    return (
        own,
        ConsensusNamespace(node.chain, node.networking.participant),
        NetworkNamespace(node.networking.service),
    )


async def run_node(
    config: NodeConfig,
    *,
    task_status: Started = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a node until cancelled. Raises ConfigError, DatabaseError, ChainError, ListenError."""
    async with opened(config) as node, _endpoint_removed(config), trio.open_nursery() as nursery:
        await check_can_listen(config.rpc_host, config.rpc_port)  # before other nodes meet this one
        if node.networking is not None:
            await node.networking.run(nursery)
        control = await _open_control(node, nursery) if config.control else None
        services = _services(node)
        node = replace(node, namespaces=_namespaces(node, services))
        # JSON-RPC before the author and the services: a client that connects meets a whole node,
        # and the first block is not made before it can be watched.
        endpoint = await nursery.start(
            partial(
                serve,
                node,
                config.rpc_host,
                config.rpc_port,
                Limits(),
                extra_routes=services.routes,
                metrics=services.metrics,
            )
        )
        node = replace(node, rpc_port=endpoint.port)
        if node.networking is None:
            nursery.start_soon(node.author.run_until_halted)
        services.start(config, nursery)
        _write_endpoint(node, control)
        logger.info("node-started chain=%s url=%s", node.chain.spec.id, node.rpc_url)
        task_status.started(node)


async def _open_control(node: RunningNode, nursery: trio.Nursery) -> Path:
    """Open the control socket of a devnet's node. Raises ConfigError, ControlRefusedError."""
    check_control(node.config)
    assert node.networking is not None, "a node with a network to control"
    path: Path = await nursery.start(
        serve_control, node.config.base_path, node.about.chain_type, NetworkControl(node.networking)
    )
    return path


@asynccontextmanager
async def _endpoint_removed(config: NodeConfig) -> AsyncIterator[None]:
    """Leave no address of a node that does not run: neither of this one nor of one killed before.

    Entered with the database open, so no other node of this folder runs.
    """
    path = config.base_path / ENDPOINT_FILE
    path.unlink(missing_ok=True)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _write_endpoint(node: RunningNode, control: Path | None) -> None:
    """Write the file in which other programs on this machine find the node's addresses."""
    path = node.config.base_path / ENDPOINT_FILE
    text: dict[str, object] = {"rpc": node.rpc_url, "http": node.http_url, "pid": os.getpid()}
    if node.networking is not None:
        text["p2p"] = list(node.network.listen_addresses)
        text["peer_id"] = node.network.peer_id
    if control is not None:
        text["control"] = str(control)
    write_durably(path, json.dumps(text).encode())


def _host(config: NodeConfig) -> str:
    """Return the host of this node's URLs: in brackets where it has colons."""
    host = "127.0.0.1" if config.rpc_host in ("0.0.0.0", "::") else config.rpc_host  # noqa: S104
    return f"[{host}]" if ":" in host else host
