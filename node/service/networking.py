"""The networked part of a node: peers, synchronization, consensus, and the events between them.

Opened before it runs, like the node itself (node/service/service.py); started in the order network,
synchronization, consensus. A node without a session key follows; with one it votes.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import trio

from consensus.settings import EngineSettings
from genesis.spec import ChainSpec
from node.authoring.evidence_pool import EvidencePool
from node.authoring.proposer import Proposer
from node.chain.chain import Chain
from node.chain.epochs import Epochs
from node.chain.events import BestChanged, FinalChanged
from node.finality.participant import Participant
from node.finality.runner_context import RunnerContext
from node.finality.write_ahead_log import WriteAheadLog
from node.keys.node_keys import load_peer_seed, load_session_pair
from node.keys.remote_signer import RemoteSigner
from node.keys.vote_signer import LocalSigner, SigningHistory, VoteSigner, history_path
from node.keys.voting_place import check_may_vote
from node.operations.config import NodeConfig
from node.operations.data_folder import consensus_folder, write_ahead_log_path
from node.rpc.network import NetworkView
from node.service.start_checks import check_boot_nodes, public_addresses
from node.storage.blob_store import BlobStore
from node.storage.database import Database
from node.sync.blob_fetcher import BlobFetcher
from node.sync.block_sync import Synchronizer
from node.sync.epoch_archive import EpochArchive
from node.sync.peer_requests import Provider
from node.sync.state_sync import FastSync
from node.transactions.pool import Pool
from p2p.protocols.status import Roles
from p2p.protocols.transactions import topic_of
from p2p.service.service import NetworkSettings, Service
from p2p.service.settings import LocalDiscovery
from p2p.transport.libp2p_host import Libp2pTransport
from p2p.transport.multiaddress import listen_address
from p2p.transport.transport import PeerId, TransportSettings, peer_id_of
from runtime.crypto.hashing import blake2b_256
from runtime.crypto.keys import Keypair
from runtime.types.primitives import Hash

DELAY_MS: Final = 1_000
"""D of consensus: what a message takes at most in a healthy network, execution included."""
VALIDATOR_SLOTS_PART: Final = 4
"""One of so many slots for peers is kept for validators."""
REFUSED_PEERS_MAX: Final = 16
"""Connections beyond the slots for peers, of peers that are being hung up on."""
RANDOMNESS_DOMAIN: Final = b"openledger/randomness-secret/1"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Networking:
    """The networked part of a node."""

    service: Service
    view: NetworkView
    synchronizer: Synchronizer
    participant: Participant
    proposer: Proposer
    archive: EpochArchive
    fetcher: BlobFetcher
    chain: Chain
    pool: Pool

    async def run(self, nursery: trio.Nursery) -> None:
        """Start everything; what runs ends with the nursery."""
        await nursery.start(partial(self.service.run))
        nursery.start_soon(self.archive.run)
        nursery.start_soon(self._enter_transactions)
        nursery.start_soon(self.synchronizer.run)
        nursery.start_soon(self.participant.run)

    async def _enter_transactions(self) -> None:
        """Enter the transactions that peers gossip.

        No peer is penalized for an invalid one: gossip is relayed before it is checked, so the
        sender may be an honest relay.
        """
        async for _, batch in self.service.transactions:
            await self.pool.submit_many(batch)


class NetworkControl:
    """The node as the control socket of a devnet changes it (node/service/control_socket.py)."""

    def __init__(self, networking: Networking) -> None:
        self._networking = networking
        self._blocked: tuple[str, ...] = ()
        self._latency_ms = 0
        self._until = 0

    def block(self, peers: Sequence[str]) -> None:
        """Drop these peers and refuse them, in place of those blocked before."""
        self._blocked = tuple(peers)
        self._networking.service.block([PeerId(peer) for peer in peers])

    def unblock(self) -> None:
        """Refuse no peer any more."""
        self._blocked = ()
        self._networking.service.unblock()

    def set_latency_ms(self, latency_ms: int) -> None:
        """Hold every outgoing message this long."""
        self._latency_ms = latency_ms
        self._networking.service.set_latency_ms(latency_ms)

    def propose_immediately(self, until: int) -> None:
        """Propose at once, empty blocks too, until this height is final."""
        self._until = until
        self._networking.proposer.propose_immediately(until)

    def state(self) -> Mapping[str, object]:
        """Return the settings of now, as JSON values."""
        return {
            "blocked": list(self._blocked),
            "latency_ms": self._latency_ms,
            "immediate_until": self._until,
        }


@asynccontextmanager
async def networked(
    config: NodeConfig,
    spec: ChainSpec,
    chain: Chain,
    pool: Pool,
    blobs: BlobStore,
    folder: Path,
) -> AsyncIterator[Networking]:
    """Open the networked part of a node; `folder` is the chain's.

    Raises ConfigError, NoAuthoritiesError, SignerError, DamagedLogError.
    """
    epochs = Epochs(chain)
    archive = EpochArchive(chain, epochs.after)
    seed = load_peer_seed(folder)
    service = _service(config, spec, chain, blobs=blobs, archive=archive, seed=seed)
    synchronizer = Synchronizer(chain, service, epochs.authorities_after)
    secret = blake2b_256(RANDOMNESS_DOMAIN + chain.genesis_hash + seed)
    proposer = Proposer(
        chain=chain,
        epochs=epochs,
        pool=pool,
        block_time_ms=config.block_time_ms,
        secret=secret,
        evidence=EvidencePool(consensus_folder(folder) / "evidence"),
        is_instant=config.instant,
    )
    delay = max(DELAY_MS, config.block_time_ms)
    with ExitStack() as closing:
        log = WriteAheadLog(write_ahead_log_path(folder))
        closing.callback(log.close)
        context = RunnerContext(
            chain=chain,
            network=service,
            fetcher=synchronizer,
            proposer=proposer,
            log=log,
            signer=await _signer(config, spec, chain, folder=folder, closing=closing),
        )
        participant = Participant(
            context=context,
            epochs=epochs,
            service=service,
            settings=EngineSettings(delay),
            is_listening_first=config.doppelganger,
        )
        _announce_changes(chain, pool, service)
        yield Networking(
            service=service,
            view=NetworkView(service, synchronizer),
            synchronizer=synchronizer,
            participant=participant,
            proposer=proposer,
            archive=archive,
            fetcher=BlobFetcher(blobs, service),
            chain=chain,
            pool=pool,
        )


async def begin_fast(
    config: NodeConfig, spec: ChainSpec, database: Database, blobs: BlobStore, folder: Path
) -> None:
    """Bring a new node to a recent state; one that has blocks already stays as it is.

    Meanwhile it is a node of the network with its own identity, and serves genesis.
    Raises FastSyncRefusedError, NoAuthoritiesError.
    """
    chain = Chain(spec, database)
    if database.head != 0:
        return
    epoch = Epochs(chain).after(chain.genesis_hash)
    service = _service(config, spec, chain, blobs=blobs, archive=None, seed=load_peer_seed(folder))
    length = epoch.last_number - epoch.root_number
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(service.run))
        sync = FastSync(
            database=database,
            genesis=chain.genesis_hash,
            authorities=epoch.authorities,
            epoch_blocks=length,
            network=service,
        )
        height = await sync.run()
        logger.info("fast-sync-ended height=%s", height)
        nursery.cancel_scope.cancel()
    chain.close()


def _service(
    config: NodeConfig,
    spec: ChainSpec,
    chain: Chain,
    *,
    blobs: BlobStore,
    archive: EpochArchive | None,
    seed: bytes,
) -> Service:
    """Make the network service; nothing runs yet. Raises ConfigError."""
    check_boot_nodes(spec)
    roles = Roles.FULL | Roles.VALIDATOR if config.validator else Roles.FULL
    limits = TransportSettings(
        topics=frozenset({topic_of(chain.genesis_hash)}),
        # The service decides who is admitted; here is room for those that it hangs up on.
        max_peers=config.peers_max + REFUSED_PEERS_MAX,
    )
    identity = Keypair.from_seed(seed)
    listen = str(listen_address(config.p2p_host, config.p2p_port))
    return Service(
        lambda: Libp2pTransport(seed, [listen], limits),
        Provider(chain=chain, blobs=blobs, archive=archive, roles=roles, agent=config.name),
        NetworkSettings(
            bootnodes=(*spec.boot_nodes, *config.bootnodes),
            reserved_peers=config.reserved_peers,
            public_addresses=public_addresses(config, peer_id_of(identity.account)),
            discovery=_discovery(chain.genesis_hash) if config.mdns else None,
            identity=identity,
            max_peers=config.peers_max,
            validator_slots=config.peers_max // VALIDATOR_SLOTS_PART,
        ),
    )


def _discovery(genesis_hash: Hash) -> LocalDiscovery:
    """Return multicast discovery; its library is loaded for those alone who ask for it."""
    from p2p.transport.multicast import MulticastDiscovery

    return MulticastDiscovery(genesis_hash)


async def _signer(
    config: NodeConfig, spec: ChainSpec, chain: Chain, *, folder: Path, closing: ExitStack
) -> VoteSigner | None:
    """Return the signer of this node's votes; None for a node that only follows."""
    if not config.validator:
        return None
    check_may_vote(folder)
    if config.signer is not None:
        remote = RemoteSigner(config.signer, chain.genesis_hash)
        closing.callback(remote.close)
        await remote.connect()
        return remote
    pair = load_session_pair(config, spec.chain_type)
    history = SigningHistory(history_path(consensus_folder(folder), pair.account))
    closing.callback(history.close)
    return LocalSigner(pair, chain.genesis_hash, history)


def _announce_changes(chain: Chain, pool: Pool, service: Service) -> None:
    """Announce new best and final blocks to peers, and gossip accepted transactions."""

    def on_chain_event(event: object) -> None:
        if isinstance(event, BestChanged | FinalChanged):
            service.announce()

    chain.on_event.append(on_chain_event)
    pool.on_accepted.append(service.gossip)
