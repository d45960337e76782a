"""The parts of a node that carry out consensus: what an engine runner is given for each epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from node.authoring.author import wall_clock_ms
from node.authoring.proposer import Proposer
from node.chain.chain import Chain
from node.finality.write_ahead_log import WriteAheadLog
from node.keys.vote_signer import VoteSigner
from p2p.service.peer_network import PeerRequests
from p2p.transport.transport import PeerId
from p2p.transport.wire import MessageKind
from runtime.types.primitives import Hash


class ConsensusNetwork(PeerRequests, Protocol):
    """The methods of the network service that a runner needs."""

    def broadcast(
        self, kind: MessageKind, body: bytes, *, besides: PeerId | None = None
    ) -> None: ...
    def send(self, peer: PeerId, kind: MessageKind, body: bytes) -> None: ...


class BlockFetcher(Protocol):
    """Brings blocks that are missing here (node/sync/block_sync.py)."""

    @property
    def highest_final(self) -> int:
        """The highest final block of this node and the peers that have brought it blocks."""
        ...

    async def fetch(self, block: Hash, peer: PeerId | None) -> None:
        """Execute and add a block and its missing ancestors. Raises TransportError, ChainError."""
        ...


@dataclass(frozen=True, slots=True)
class RunnerContext:
    """The parts of the node that a runner works with; they outlive the epochs."""

    chain: Chain
    network: ConsensusNetwork
    fetcher: BlockFetcher
    proposer: Proposer
    log: WriteAheadLog
    signer: VoteSigner | None
    clock_ms: Callable[[], int] = wall_clock_ms
