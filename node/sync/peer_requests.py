"""The answers to peers: blocks, bodies, ends of epochs, state, and this node's status.

Answers come from storage, off the event loop, within limits of size and number: a few threads for
all peers together, so that serving never takes what execution needs. Missing data is an empty
answer; a request that is never allowed is refused with RequestError. Wrong requests are scored by
the network service. Ranges of blobs are blob_chunk_server.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import trio

from node.chain.chain import Chain
from node.storage.blob_errors import BlobError
from node.storage.blob_store import BlobStore
from node.storage.errors import DatabaseError, HeightUnknownError
from node.sync.blob_chunk_server import BlobChunkServer
from node.sync.epoch_archive import EpochArchive
from p2p.protocols.status import AGENT_LENGTH_MAX, PROTOCOL_VERSION, Roles, Status
from p2p.protocols.sync_messages import (
    BLOCKS_MAX,
    EPOCHS_MAX,
    STATE_BYTES_MAX,
    TRAIL_MAX,
    Block,
    Blocks,
    BlocksRequest,
    Epochs,
    EpochsRequest,
    StateAnswer,
    StateRange,
    StateRequest,
)
from p2p.transport.transport import PeerId, RequestError
from p2p.transport.wire import ANSWER_SIZE_MAX, RequestKind
from runtime.codec.scale import DecodeError, codec
from runtime.trie.proof import ProofError
from runtime.trie.range_proof import prove_range
from runtime.types.primitives import Hash, Header

BLOCKS_BYTES_MAX: Final = 2 << 20
"""An answer ends with the block that exceeds this; one block may be larger alone."""
EPOCHS_BYTES_MAX: Final = 2 << 20
THREADS_MAX: Final = 4
"""Answers that are read from the disk at the same time."""

logger = logging.getLogger(__name__)
_blocks_request = codec(BlocksRequest)
_blocks = codec(Blocks)
_block = codec(Block)
_header = codec(Header)
_body = codec(tuple[bytes, ...])
_epochs_request = codec(EpochsRequest)
_epochs = codec(Epochs)
_state_request = codec(StateRequest)
_state = codec(StateAnswer)


class Provider:
    """Answers the requests of peers from one chain and one blob store."""

    def __init__(
        self,
        chain: Chain,
        blobs: BlobStore,
        archive: EpochArchive | None = None,
        roles: Roles = Roles.FULL,
        agent: str = "openledger",
    ) -> None:
        self._chain = chain
        self._archive = archive
        self._roles = roles
        self._agent = agent[:AGENT_LENGTH_MAX]
        self._threads = trio.CapacityLimiter(THREADS_MAX)
        self._answers: dict[RequestKind, Callable[[bytes], bytes]] = {
            RequestKind.BLOCKS: self._answer_blocks,
            RequestKind.BODY: self._answer_body,
            RequestKind.EPOCHS: self._answer_epochs,
            RequestKind.STATE: self._answer_state,
            RequestKind.BLOB: BlobChunkServer(blobs).answer,
        }

    def status(self) -> Status:
        """Return what this node says of itself now."""
        best, finalized = self._chain.best, self._chain.finalized
        return Status(
            version=PROTOCOL_VERSION,
            genesis_hash=self._chain.genesis_hash,
            best_number=best.number,
            best_hash=best.hash,
            finalized_number=finalized.number,
            finalized_hash=finalized.hash,
            roles=int(self._roles),
            agent=self._agent,
        )

    async def answer(self, peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
        """Answer a request. Raises RequestError to refuse it."""
        try:
            answer = await trio.to_thread.run_sync(self._answers[kind], body, limiter=self._threads)
        except DecodeError as error:
            raise RequestError(f"The {kind.name} request cannot be read: {error}") from error
        except (DatabaseError, BlobError, ProofError) as error:
            logger.error("answer-failed peer=%s kind=%s cause=%r", peer, kind.name, str(error))
            raise RequestError(f"This node cannot answer {kind.name}: it has a fault.") from error
        if len(answer) > ANSWER_SIZE_MAX[kind]:
            raise RequestError(f"The answer to {kind.name} is too large. Ask for less.")
        return answer

    # -------------------------------------------------------------------------------- blocks

    def _answer_blocks(self, body: bytes) -> bytes:
        request = _blocks_request.decode(body)
        if not 0 < request.count <= BLOCKS_MAX:
            raise RequestError(f"Ask for 1 to {BLOCKS_MAX} blocks.")
        if request.last is not None:
            return _blocks.encode(self._branch(request.last, request.first, request.count))
        return _blocks.encode(self._finalized(request.first, request.count))

    def _finalized(self, first: int, count: int) -> Blocks:
        """Final blocks from a height on, ending where the certificate of one proves them all."""
        blocks: list[Block] = []
        size = 0
        for number in range(first, first + count):
            stored = self._chain.database.block(number)
            if stored is None:
                break
            block = Block(_header.decode(stored.header), stored.body, stored.justification)
            size += len(_block.encode(block))
            if blocks and size > BLOCKS_BYTES_MAX:
                break
            blocks.append(block)
        if not blocks or blocks[-1].justification is not None:
            return Blocks(tuple(blocks))
        trail, proof = self._trail(blocks[-1].header.number + 1)
        if proof:
            return Blocks(tuple(blocks), trail, proof)
        while blocks and blocks[-1].justification is None:
            blocks.pop()
        return Blocks(tuple(blocks))

    def _trail(self, first: int) -> tuple[tuple[Header, ...], bytes]:
        """The headers from a height up to the next that has a justification, and that."""
        trail = []
        for number in range(first, first + TRAIL_MAX):
            header = self._chain.database.header(number)
            if header is None:
                break
            trail.append(_header.decode(header))
            justification = self._chain.database.justification(number)
            if justification is not None:
                return tuple(trail), justification
        return (), b""

    def _branch(self, last: Hash, first: int, count: int) -> Blocks:
        """A block, final or not, and its ancestors down to a height."""
        blocks: list[Block] = []
        size, at = 0, last
        while len(blocks) < count:
            header, body = self._chain.header(at), self._chain.body(at)
            if header is None or body is None or header.number < first:
                break
            block = Block(header, body)
            size += len(_block.encode(block))
            if blocks and size > BLOCKS_BYTES_MAX:
                break
            blocks.append(block)
            at = header.parent_hash
        return Blocks(tuple(reversed(blocks)))

    def _answer_body(self, body: bytes) -> bytes:
        if len(body) != 32:
            raise RequestError("A BODY request is the hash of a block.")
        extrinsics = self._chain.body(Hash(body))
        if extrinsics is None:
            raise RequestError(f"Block 0x{body.hex()} is not known here.")
        return _body.encode(extrinsics)

    # ------------------------------------------------------------------------ epochs and state

    def _answer_epochs(self, body: bytes) -> bytes:
        request = _epochs_request.decode(body)
        if not 0 < request.count <= EPOCHS_MAX:
            raise RequestError(f"Ask for 1 to {EPOCHS_MAX} epochs.")
        if self._archive is None:
            return _epochs.encode(())
        ends = self._archive.ends(request.first, request.count)
        answer = _epochs.encode(ends)
        while len(answer) > EPOCHS_BYTES_MAX and len(ends) > 1:
            ends = ends[: (len(ends) + 1) // 2]
            answer = _epochs.encode(ends)
        return answer

    def _answer_state(self, body: bytes) -> bytes:
        request = _state_request.decode(body)
        number = self._chain.database.number_of(request.block)
        if number is None:
            return _state.encode(None)
        try:
            state = self._chain.database.state_at(number)
        except HeightUnknownError:
            return _state.encode(None)
        chunk = prove_range(state, request.start, min(request.size, STATE_BYTES_MAX))
        return _state.encode(StateRange(chunk.pairs, chunk.proof))
