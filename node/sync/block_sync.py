"""The synchronizer: fetches the blocks that this node does not have, from any peer.

Whenever peers have final blocks that do not come by consensus (a new node, one that was off or cut
off), it asks several peers for ranges (planned by p2p/protocols/block_download.py), checks each
range's certificates against the authority set in the state before it, executes the blocks off the
event loop and finalizes them. Nothing is executed that is not proven final. `fetch` is for
consensus: one block by its hash, with the ancestors that are missing.

A peer that answers wrongly is penalized as it is found out, and another one is asked.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import trio

from node.chain.chain import Chain
from node.chain.errors import ChainError, UnfinalizedLimitError
from node.storage.errors import DatabaseWriteError
from p2p.protocols.block_download import Arrived, AskBlocks, BlockPlanner, SyncLimits
from p2p.protocols.reputation import Fault
from p2p.protocols.sync_messages import (
    TRAIL_MAX,
    Block,
    Blocks,
    BlocksRequest,
    Segment,
    WrongAnswerError,
    check_blocks,
    check_body,
    check_final,
    check_links,
)
from p2p.service.peer_network import PeerNetwork
from p2p.transport.transport import PeerId, TransportError
from p2p.transport.wire import RequestKind
from runtime.codec.scale import DecodeError, codec
from runtime.errors import OpenLedgerError
from runtime.frame.executive import InvalidBlockError
from runtime.shared.finality import AuthoritySet
from runtime.types.primitives import Hash

BRANCH_BLOCKS_MAX: Final = 64
"""Blocks that are asked for at once by hash."""
BRANCH_BYTES_MAX: Final = 64 << 20
FETCH_PEERS_MAX: Final = 4
"""Peers that are asked in turn for one block."""

WRITE_AGAIN_SECONDS: Final = 1.0
"""The pause before blocks are imported again that this node could not write."""

logger = logging.getLogger(__name__)
_request = codec(BlocksRequest)
_blocks = codec(Blocks)


class FetchError(TransportError):
    """A block could not be brought; the message says why."""


class DivergedError(OpenLedgerError):
    """This program computes another result than the validators for a block that is final."""


class OtherHistoryError(Exception):
    """A peer's blocks contradict this node's final block: one of the two has another history."""


SetAfter = Callable[[Hash], AuthoritySet]
"""Returns the authorities that decide the children of a block; called on the event loop."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How far behind its peers, or for how long, a node waits for consensus to bring blocks."""

    blocks: int = 8
    wait_s: float = 2.0


class Synchronizer:
    """Keeps one chain at the height of its peers."""

    def __init__(
        self,
        chain: Chain,
        network: PeerNetwork,
        set_after: SetAfter,
        patience: Patience | None = None,
        limits: SyncLimits | None = None,
    ) -> None:
        self._chain = chain
        self._network = network
        self._set_after = set_after
        self._patience = patience or Patience()
        self._planner = BlockPlanner(chain.finalized.number, limits or SyncLimits())
        self._fetching = trio.Lock()
        self._bell, self._rung = trio.open_memory_channel[None](1)
        self._contradicting: dict[PeerId, str] = {}
        """Connected peers whose blocks contradict the final block here, and how."""
        self._contradicted_at = 0
        self._is_alone = False
        """Whether the blocks of all connected peers contradict the final block here."""
        self._write_failure = ""
        """Why the last import waits for this node's own disk; empty where none does."""
        self._is_syncing = False
        self._was_level = False
        """Whether this node has caught up with its peers once since it started."""

    @property
    def is_syncing(self) -> bool:
        """Return whether blocks are being brought that consensus did not."""
        return self._is_syncing and self.highest_final > self._chain.finalized.number

    @property
    def highest_final(self) -> int:
        """The highest final block of this node and the peers that have brought it blocks.

        Until the node was level with its peers once, every height counts that is not refuted yet.
        """
        planner = self._planner
        known = planner.delivered_height
        if not self._was_level:
            known = max(known, planner.target(trio.current_time()))
        return max(known, self._chain.finalized.number)

    @property
    def highest_block(self) -> int:
        """The highest block of this node and the peers that have brought it blocks."""
        return max(self._chain.best.number, self.highest_final)

    async def run(self) -> None:
        """Catch up whenever peers are ahead, until cancelled. Raises DivergedError."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            while True:
                await self._wait_until_behind()
                self._is_syncing = True
                start = self._chain.finalized.number
                target = self._planner.target(trio.current_time())
                logger.info("sync-started height=%d target=%d", start, target)
                try:
                    await self._catch_up()
                finally:
                    self._is_syncing = False
                logger.info("sync-ended height=%d", self._chain.finalized.number)

    # ------------------------------------------------------------------------------ when to

    async def _listen(self) -> None:
        """Ring when a peer came, went, or has a new status."""
        while True:
            async with self._network.changes() as changes:
                self._ring()
                async for _ in changes:
                    self._ring()
            await trio.lowlevel.checkpoint()  # it lagged: subscribe again

    def _ring(self) -> None:
        try:
            self._bell.send_nowait(None)
        except trio.WouldBlock:
            return  # it rings already

    async def _wait(self, until: float | None) -> None:
        """Wait until something happened, or for a time on trio's clock."""
        with trio.move_on_at(float("inf") if until is None else until):
            await self._rung.receive()

    async def _wait_until_behind(self) -> None:
        """Return when peers are ahead, and consensus has had its time to bring the blocks."""
        patience, planner = self._patience, self._planner
        height, deadline = -1, 0.0
        while True:
            now = trio.current_time()
            self._note_peers()
            planner.restart(self._chain.finalized.number)
            lag = planner.target(now) - planner.imported
            if lag >= patience.blocks:
                return
            if lag <= 0:
                self._was_level = self._was_level or bool(planner.peers)
                height = -1
                await self._wait(planner.wake_at(now))
                continue
            if height != planner.imported:
                height, deadline = planner.imported, now + patience.wait_s
            if deadline <= now:
                return
            await self._wait(deadline)

    # ---------------------------------------------------------------------------- catching up

    async def _catch_up(self) -> None:
        """Bring what peers have until they have no more."""
        planner = self._planner
        async with trio.open_nursery() as nursery:
            while True:
                now = trio.current_time()
                self._note_peers()
                planner.advance(self._chain.finalized.number)
                if planner.imported >= planner.target(now):
                    break
                for ask in planner.requests(now):
                    nursery.start_soon(self._ask, ask)
                arrived = planner.next_arrived()
                if arrived is None:
                    await self._wait(planner.wake_at(now))
                else:
                    await self._import(arrived)
            nursery.cancel_scope.cancel()

    def _note_peers(self) -> None:
        here = {state.peer: state.finalized for state in self._network.peers()}
        self._judge_contradictions(here)
        for peer in self._planner.peers:
            if peer not in here:
                self._planner.drop_peer(peer)
        for peer, finalized in here.items():
            self._planner.note_peer(peer, finalized)

    async def _ask(self, ask: AskBlocks) -> None:
        """Ask one peer for one range, and report the outcome to the planner."""
        segments: tuple[Segment, ...] = ()
        try:
            answer = await self._request(ask.peer, BlocksRequest(ask.first, ask.count))
            # A peer that itself began at a snapshot has no older blocks; that is no fault.
            if answer.blocks:
                segments = await trio.to_thread.run_sync(check_blocks, ask.first, ask.count, answer)
        except WrongAnswerError as error:
            self._network.penalize(ask.peer, Fault.BAD_ANSWER, str(error))
        except TransportError as error:
            logger.debug("blocks-not-answered peer=%s cause=%r", ask.peer, str(error))
        if segments:
            self._planner.answered(ask, segments)
        else:
            self._planner.failed(ask, trio.current_time())
        self._ring()

    async def _request(self, peer: PeerId, request: BlocksRequest) -> Blocks:
        """Ask a peer for blocks. Raises TransportError, WrongAnswerError."""
        try:
            raw = await self._network.request(peer, RequestKind.BLOCKS, _request.encode(request))
            return await trio.to_thread.run_sync(_blocks.decode, raw)
        except DecodeError as error:
            raise WrongAnswerError(f"the blocks cannot be read: {error}") from error

    async def _import(self, arrived: Arrived) -> None:
        planner = self._planner
        imported = planner.imported
        try:
            for segment in arrived.segments:
                await self._import_segment(segment)
                imported = segment.blocks[-1].header.number
        except WrongAnswerError as error:
            self._network.penalize(arrived.ask.peer, Fault.BAD_ANSWER, str(error))
            planner.import_refused(arrived, trio.current_time())
        except OtherHistoryError as error:
            self._contradicting[arrived.ask.peer] = str(error)
            self._contradicted_at = self._chain.finalized.number
            self._judge_contradictions({state.peer for state in self._network.peers()})
            planner.import_refused(arrived, trio.current_time())
        except (DatabaseWriteError, UnfinalizedLimitError) as error:
            # No fault of the peer's: its answer stays, and is imported once this node can write.
            if str(error) != self._write_failure:
                logger.error("import-waits first=%d cause=%r", arrived.ask.first, str(error))
            self._write_failure = str(error)
            await trio.sleep(WRITE_AGAIN_SECONDS)
        except ChainError as error:
            logger.warning("import-refused first=%d cause=%r", arrived.ask.first, str(error))
            planner.import_refused(arrived, trio.current_time())
        else:
            self._write_failure = ""
            planner.import_done(arrived, imported)

    def _judge_contradictions(self, connected: Collection[PeerId]) -> None:
        """Penalize peers whose blocks contradict the final block here once others' blocks do not.

        Where the blocks of all peers do, the mistake is here: this node once made blocks alone, or
        its folder was restored to a fork. To ban the network for it would help nobody.
        """
        contradicting = {
            peer: reason for peer, reason in self._contradicting.items() if peer in connected
        }
        if self._chain.finalized.number > self._contradicted_at:
            for peer, reason in contradicting.items():
                self._network.penalize(peer, Fault.BAD_ANSWER, reason)
            contradicting = {}
        was_alone, self._contradicting = self._is_alone, contradicting
        self._is_alone = bool(contradicting) and len(contradicting) == len(connected)
        if self._is_alone and not was_alone:
            logger.error(
                "history-differs final=%d peers=%d reason=%r remedy=%r",
                self._chain.finalized.number,
                len(connected),
                "this folder holds another history than all connected peers",
                "stop the node, remove its data with `openledger chain purge`, and start it again",
            )

    async def _import_segment(self, segment: Segment) -> None:
        """Prove a segment, execute it, make it final.

        Raises WrongAnswerError, OtherHistoryError, ChainError.
        """
        chain = self._chain
        blocks = self._above_finalized(segment.blocks)
        if not blocks:
            return
        parent = chain.header(blocks[0].header.parent_hash)
        if parent is None or parent.number < chain.finalized.number:
            raise OtherHistoryError(
                f"block {blocks[0].header.number} does not follow the final block "
                f"{chain.finalized.number} of this node"
            )
        await trio.to_thread.run_sync(
            check_final,
            chain.genesis_hash,
            self._set_after(parent.hash),
            segment.certified,
            segment.certificate,
        )
        for block in blocks:
            await self._execute(block)
        justification = segment.blocks[-1].justification
        if justification is not None:
            await chain.finalize(blocks[-1].header.hash, justification)

    def _above_finalized(self, blocks: tuple[Block, ...]) -> tuple[Block, ...]:
        """Leave out what is final here by now. Raises OtherHistoryError."""
        final = self._chain.finalized.number
        for block in blocks:
            header = block.header
            if header.number <= final and self._chain.hash_of(header.number) != header.hash:
                raise OtherHistoryError(f"block {header.number} is another one than the final one")
        return tuple(block for block in blocks if block.header.number > final)

    async def _execute(self, block: Block) -> None:
        """Execute and add a block that is proven final, if it is not here. Raises ChainError."""
        chain, header = self._chain, block.header
        if chain.header(header.hash) is not None:
            return
        try:
            chain.add(await chain.execute(header, block.extrinsics))
        except InvalidBlockError as error:
            raise DivergedError(
                f"Block {header.number} is final, but executing it here gives another result "
                f"({error}). Install the version that the validators run; if it is this one, "
                "remove the database and sync again."
            ) from error
        except ChainError:
            # Consensus may have made it final meanwhile.
            if chain.finalized.number < header.number:
                raise

    # ---------------------------------------------------------------------------------- fetch

    async def fetch(self, block: Hash, peer: PeerId | None = None) -> None:
        """Execute and add a block and its missing ancestors.

        `peer` is asked first; others follow. The block need not be final. Raises FetchError,
        UnfinalizedLimitError.
        """
        async with self._fetching:
            if self._chain.header(block) is not None:
                return
            others = [state.peer for state in self._network.peers() if state.peer != peer]
            random.shuffle(others)  # so that no few peers can stand in the way for ever
            asked = ([] if peer is None else [peer]) + others
            reason = "no peer is connected"
            for other in asked[:FETCH_PEERS_MAX]:
                try:
                    branch = await self._branch(block, other)
                except WrongAnswerError as error:
                    self._network.penalize(other, Fault.BAD_ANSWER, str(error))
                    reason = str(error)
                except TransportError as error:
                    reason = str(error)
                else:
                    await self._add_branch(branch)
                    return
            raise FetchError(f"Block 0x{block.hex()} could not be fetched: {reason}.")

    async def _branch(self, block: Hash, peer: PeerId) -> list[Block]:
        """Bring a block and its ancestors down to a known one, oldest first.

        Raises WrongAnswerError, TransportError.
        """
        branch: list[Block] = []
        at, size = block, 0
        while len(branch) < TRAIL_MAX and size < BRANCH_BYTES_MAX:
            first = self._chain.finalized.number + 1
            answer = await self._request(peer, BlocksRequest(first, BRANCH_BLOCKS_MAX, at))
            if not answer.blocks:
                raise FetchError(f"peer {peer} does not have it above block {first - 1}")
            await trio.to_thread.run_sync(_check_branch, answer, at)
            size += sum(len(raw) for block in answer.blocks for raw in block.extrinsics)
            branch = [*answer.blocks, *branch]
            at = branch[0].header.parent_hash
            if self._chain.header(at) is not None:
                return branch
        raise FetchError("it is too far ahead")

    async def _add_branch(self, branch: list[Block]) -> None:
        """Execute and add blocks. Raises FetchError, UnfinalizedLimitError."""
        chain = self._chain
        for block in branch:
            if chain.header(block.header.hash) is not None:
                continue
            try:
                chain.add(await chain.execute(block.header, block.extrinsics))
            except UnfinalizedLimitError:
                raise  # the fault is here, and not with who gave the blocks
            except (InvalidBlockError, ChainError) as error:
                raise FetchError(f"block {block.header.number} is refused: {error}") from error


def _check_branch(answer: Blocks, last: Hash) -> None:
    """Check that blocks end in one hash and follow one another. Raises WrongAnswerError."""
    headers = [block.header for block in answer.blocks]
    if headers[-1].hash != last or len(headers) > BRANCH_BLOCKS_MAX or answer.trail or answer.proof:
        raise WrongAnswerError(f"the blocks do not end in 0x{last.hex()}")
    check_links(headers)
    for block in answer.blocks:
        check_body(block.header, block.extrinsics)
