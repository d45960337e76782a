"""Fast sync: a new node takes the state of a recent final block instead of executing all before it.

    follow      from the genesis set to the newest epoch: one proof for each (consensus/light.py)
    choose      the newest final block of a peer, proven by the set of its epoch
    copy        that block's state in chunks, each proven against its state root before it is kept
    install     the state becomes the database's; later blocks come by node/sync/block_sync.py

Every step is durable before the next: after kill -9 it goes on where it was. Peers keep few states;
when no peer has the chosen one any more, a newer one is chosen and copied from its beginning.
No peer is trusted: what one says counts where it proves it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import trio

from consensus.light import EpochProof, LightClient, LightClientError
from node.storage.database import Database
from node.storage.records import StoredBlock
from node.sync.epoch_archive import end_record, newest_set, set_record, stored_end
from p2p.protocols.reputation import Fault
from p2p.protocols.sync_messages import (
    EPOCHS_MAX,
    STATE_BYTES_MAX,
    Block,
    Blocks,
    BlocksRequest,
    EpochsRequest,
    StateAnswer,
    StateRange,
    StateRequest,
    WrongAnswerError,
    check_blocks,
)
from p2p.service.peer_network import PeerNetwork
from p2p.transport.transport import PeerId, TransportError
from p2p.transport.wire import RequestKind
from runtime.codec.scale import Codec, DecodeError, codec
from runtime.errors import ExitCode, OpenLedgerError
from runtime.shared.finality import AuthoritySet
from runtime.trie.proof import ProofError
from runtime.trie.range_proof import Chunk, verify_range
from runtime.types.primitives import Hash, Header

REST_SECONDS: Final = 2.0
"""How long a peer that failed is not asked."""

logger = logging.getLogger(__name__)
_header = codec(Header)
_block = codec(Block)
_proofs: Codec[tuple[EpochProof, ...]] = codec(tuple[EpochProof, ...])
_blocks = codec(Blocks)
_state: Codec[StateRange | None] = codec(StateAnswer)


class FastSyncRefusedError(OpenLedgerError):
    """Fast sync cannot give what this node is set to keep."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class FastLimits:
    """When fast sync is worth it, how long it waits for a first peer, and the size of a chunk."""

    gain_blocks: int = 256
    wait_s: float = 30.0
    look_s: float = 1.0
    chunk_bytes: int = STATE_BYTES_MAX // 2
    stall_s: float = 120.0
    """After so long without any progress the node goes on by blocks."""


class FastSync:
    """Brings a database from genesis to a recent state."""

    def __init__(
        self,
        database: Database,
        genesis: Hash,
        authorities: AuthoritySet,
        epoch_blocks: int,
        network: PeerNetwork,
        limits: FastLimits | None = None,
    ) -> None:
        """`authorities` are those of epoch 0. Raises FastSyncRefusedError."""
        if database.is_archive:
            raise FastSyncRefusedError(
                "An archive node keeps the states of all blocks, which only executing them gives. "
                "Set --sync full, or leave out --archive."
            )
        self._database = database
        self._epoch_blocks = epoch_blocks
        self._network = network
        self._limits = limits or FastLimits()
        self._light = LightClient(genesis, newest_set(database) or authorities, epoch_blocks)
        self._light.boundary = stored_end(database, self._light.epoch - 1)
        self._staging = database.staging()
        self._resting: dict[PeerId, float] = {}
        self._stalling = trio.CancelScope()

    async def run(self) -> int | None:
        """Return the height whose state is installed; None where block sync is the better way.

        That is so on a database that has blocks already, next to peers that are hardly ahead, where
        no peer comes, and where none of them gives what it takes.
        """
        if self._database.head != 0 or not await self._is_worth_it():
            return None
        self._note_progress()
        with self._stalling:
            while True:
                block = self._staged() or await self._choose()
                if block is not None and await self._copy(block):
                    await self._install(block)
                    return int(block.header.number)
        logger.warning("fast-sync-stalled epoch=%d action='sync by blocks'", self._light.epoch)
        return None

    def _note_progress(self) -> None:
        self._stalling.deadline = trio.current_time() + self._limits.stall_s

    # ---------------------------------------------------------------------------------- peers

    async def _is_worth_it(self) -> bool:
        if self._staging.target is not None:
            return True
        gives_up_at = trio.current_time() + self._limits.wait_s
        while True:
            highest = max((state.finalized for state in self._network.peers()), default=0)
            if highest >= self._limits.gain_blocks:
                return True
            if trio.current_time() >= gives_up_at or highest:
                logger.info("fast-sync-skipped highest=%d", highest)
                return False
            await self._pause()

    async def _pause(self) -> None:
        """Let time pass until a peer may be asked again, or one has come."""
        async with self._network.changes() as changes:
            with trio.move_on_after(self._limits.look_s):
                await changes.receive()

    def _able(self, height: int) -> list[PeerId]:
        """The peers that have a height final and are not resting, the highest first."""
        now = trio.current_time()
        able = [
            state
            for state in self._network.peers()
            if state.finalized >= height and self._resting.get(state.peer, 0.0) <= now
        ]
        return [state.peer for state in sorted(able, key=lambda state: -state.finalized)]

    def _rest(self, peer: PeerId) -> None:
        self._resting[peer] = trio.current_time() + REST_SECONDS

    def _blame(self, peer: PeerId, reason: str) -> None:
        self._network.penalize(peer, Fault.BAD_ANSWER, reason)
        self._rest(peer)

    async def _request(self, peer: PeerId, kind: RequestKind, body: bytes) -> bytes | None:
        try:
            return await self._network.request(peer, kind, body)
        except TransportError as error:
            logger.debug("fast-sync-unanswered peer=%s cause=%r", peer, str(error))
            self._rest(peer)
            return None

    # --------------------------------------------------------------------- the block to begin at

    def _staged(self) -> Block | None:
        """The block whose state was being copied when the node stopped."""
        target = self._staging.target
        return None if target is None else _block.decode(target)

    async def _choose(self) -> Block | None:
        """Follow the epochs, and take the newest final block of a peer as the one to copy."""
        await self._follow()
        for peer in self._able(max(1, self._light.epoch * self._epoch_blocks)):
            height = next(
                (state.finalized for state in self._network.peers() if state.peer == peer), None
            )
            if height is None or height > (self._light.epoch + 1) * self._epoch_blocks:
                continue  # an epoch has ended meanwhile: follow it first
            block = await self._final_block(peer, height)
            if block is not None:
                await trio.to_thread.run_sync(self._staging.begin, _block.encode(block))
                logger.info("fast-sync-chosen height=%d peer=%s", height, peer)
                return block
        await self._pause()
        return None

    async def _final_block(self, peer: PeerId, height: int) -> Block | None:
        """Ask for a block, and prove that it is final."""
        request = codec(BlocksRequest).encode(BlocksRequest(height, 1))
        raw = await self._request(peer, RequestKind.BLOCKS, request)
        if raw is None:
            return None
        try:
            answer = _blocks.decode(raw)
            if not answer.blocks:
                self._rest(peer)
                return None
            segment = check_blocks(height, 1, answer)[0]
            if segment.trail:
                raise WrongAnswerError(f"block {height} is said to be final, but is not certified")
            # The block that ended the epoch before was proven when it was followed.
            if segment.certified != self._light.boundary:
                await trio.to_thread.run_sync(
                    self._light.verify, segment.certified, segment.certificate
                )
        except (DecodeError, WrongAnswerError, LightClientError) as error:
            self._blame(peer, str(error))
            return None
        return segment.blocks[0]

    async def _follow(self) -> None:
        """Walk to the newest epoch that a peer that is able knows."""
        while True:
            first = self._light.epoch
            able = self._able((first + 1) * self._epoch_blocks)
            if not able:
                return
            await self._follow_with(able[0], first)
            if self._light.epoch == first:
                self._rest(able[0])
            else:
                self._note_progress()

    async def _follow_with(self, peer: PeerId, first: int) -> None:
        request = codec(EpochsRequest).encode(EpochsRequest(first, EPOCHS_MAX))
        raw = await self._request(peer, RequestKind.EPOCHS, request)
        if raw is None:
            return
        records: dict[str, bytes | None] = {}
        try:
            for proof in _proofs.decode(raw)[:EPOCHS_MAX]:
                await trio.to_thread.run_sync(self._light.follow, proof)
                records |= end_record(first, proof.header, proof.certificate)
                records |= set_record(proof.next_set)
                first += 1
        except (DecodeError, LightClientError) as error:
            self._blame(peer, str(error))
        await trio.to_thread.run_sync(self._database.put_records, records)
        logger.info("fast-sync-followed epoch=%d", self._light.epoch)

    # ---------------------------------------------------------------------------------- the state

    async def _copy(self, block: Block) -> bool:
        """Copy a state from where it was left; False when no peer has it any more."""
        start: bytes | None = self._staging.note
        copied = 0
        lacking: set[PeerId] = set()
        while start is not None:
            peers = [peer for peer in self._able(block.header.number) if peer not in lacking]
            if not peers:
                here = {state.peer for state in self._network.peers()}
                if here and here <= lacking:
                    logger.info("fast-sync-state-gone height=%d", block.header.number)
                    await trio.to_thread.run_sync(self._staging.begin, None)
                    return False
                await self._pause()
                continue
            peer = peers[copied % len(peers)]
            answer = await self._chunk(peer, block.header, start)
            if answer is None:
                lacking.add(peer)
            elif isinstance(answer, _Kept):
                start = answer.next_start
                copied += 1
                self._note_progress()
        return True

    async def _chunk(self, peer: PeerId, header: Header, start: bytes) -> _Kept | _Failed | None:
        """Ask for a chunk and keep it; None when the peer does not have the state."""
        request = StateRequest(header.hash, start, self._limits.chunk_bytes)
        raw = await self._request(peer, RequestKind.STATE, codec(StateRequest).encode(request))
        if raw is None:
            return _Failed()
        try:
            return await trio.to_thread.run_sync(self._keep, header.state_root, start, raw)
        except (DecodeError, ProofError) as error:
            self._blame(peer, str(error))
            return _Failed()

    def _keep(self, root: bytes, start: bytes, raw: bytes) -> _Kept | None:
        """Prove a chunk and store it. Raises DecodeError, ProofError, DatabaseError."""
        answer = _state.decode(raw)
        if answer is None:
            return None
        verified = verify_range(root, start, Chunk(answer.pairs, answer.proof))
        # The end is noted as the last key and not as "done": asking behind it is an empty chunk.
        last = answer.pairs[-1][0] + b"\0" if answer.pairs else start
        self._staging.put(answer.pairs, verified.nodes, verified.next_start or last)
        return _Kept(verified.next_start)

    async def _install(self, block: Block) -> None:
        header = block.header
        stored = StoredBlock(
            number=header.number,
            hash=header.hash,
            header=_header.encode(header),
            body=block.extrinsics,
            justification=block.justification,
        )
        await trio.to_thread.run_sync(self._database.install, stored)
        logger.info("fast-sync-installed height=%d", header.number)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A chunk is stored; the next one starts here, None at the end."""

    next_start: bytes | None


@dataclass(frozen=True, slots=True)
class _Failed:
    """No chunk came, or a wrong one."""
