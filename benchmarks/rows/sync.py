"""Synchronization of a node that joins, beside executing the same blocks."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from benchmarks.figures import CannotRunError, Effort, Figure, Measured
from benchmarks.ledger import opened_ledger
from benchmarks.sync_server import AUTHORITIES, serving
from node.chain.chain import Chain
from node.sync.block_sync import Patience, Synchronizer
from node.sync.state_sync import FastLimits, FastSync
from p2p.service.service import Service
from p2p.transport.transport import PeerId
from p2p.transport.wire import RequestKind
from runtime.crypto.hashing import blake2b_256
from runtime.types.primitives import Header

WORK: Final = (
    "a node joins over libp2p and takes all blocks, or a recent state, from one that serves in a "
    "process of its own; wall clock, the same blocks executed without a network in the same run"
)
GOAL: Final = 0.8
EPOCH_BLOCKS: Final = 1 << 20
"""So many that no epoch ends: the chain has one set of authorities."""
MEGABYTE: Final = 1e6
LIMIT_SECONDS: Final = 300.0
ROOT: Final = Path(__file__).parents[2]

Body = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A block to execute again."""

    header: Header
    body: Body
    justification: bytes | None


def run(effort: Effort) -> Measured:
    """Join at blocks full of transfers and at empty ones; then take a state."""
    accounts = effort.pick(100_000, 10_000, 50)
    repeats = effort.pick(5, 1, 1)
    figures: list[Figure] = []
    full, empty = effort.pick((300, 1_000), (100, 200), (5, 5))
    transfers = effort.pick(100, 100, 5)
    for blocks, block_transfers in ((full, transfers), (empty, 0)):
        with _server(accounts, blocks, block_transfers) as address:
            turns = [trio.run(_turn, accounts, blocks, address) for _ in range(repeats)]
            kind = f"of {block_transfers}" if block_transfers else "without"
            what = f"blocks {kind} transfers"
            figures.append(_figure(what, blocks, turns))
            if block_transfers:
                rates = [trio.run(_fast, accounts, blocks, address) for _ in range(repeats)]
                rate = statistics.median(rates)
                figures.append(Figure("state of fast sync, proven and stored", rate, "MB/s"))
    note = (
        f"{accounts:,} accounts, {full} and {empty} blocks, each certified by 3 of 4 validators, "
        f"{repeats} repeats; MB of answers with their proofs"
    )
    return Measured(tuple(figures), (note,))


def _figure(what: str, blocks: int, turns: Sequence[tuple[float, float]]) -> Figure:
    joined = blocks / statistics.median(join for join, _ in turns)
    executed = blocks / statistics.median(execute for _, execute in turns)
    ratio = statistics.median(execute / join for join, execute in turns)
    return Figure(
        what,
        ours=joined,
        unit="/s",
        other="execution alone",
        theirs=executed,
        ratio=ratio,
        goal=GOAL,
    )


async def _turn(accounts: int, blocks: int, address: str) -> tuple[float, float]:
    """Return the seconds of joining, then those of executing the same blocks."""
    with opened_ledger(accounts) as ledger:
        chain = ledger.chain
        async with _connected(chain, address) as service:
            synchronizer = Synchronizer(chain, service, lambda _: AUTHORITIES, Patience(1, 0.0))
            started = time.perf_counter()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(synchronizer.run)
                await _wait_final(chain, blocks)
                joined = time.perf_counter() - started
                nursery.cancel_scope.cancel()
        recorded = [_recorded(chain, number) for number in range(1, blocks + 1)]
    with opened_ledger(accounts) as ledger:
        chain = ledger.chain
        started = time.perf_counter()
        for block in recorded:
            chain.add(await chain.execute(block.header, block.body))
            await chain.finalize(block.header.hash, block.justification)
        return joined, time.perf_counter() - started


def _recorded(chain: Chain, number: int) -> _Recorded:
    block = chain.hash_of(number)
    assert block is not None, "the chain has this height"
    header, body = chain.header(block), chain.body(block)
    assert header is not None, "its blocks are stored"
    assert body is not None, "and their bodies"
    return _Recorded(header, body, chain.justification(block))


async def _fast(accounts: int, blocks: int, address: str) -> float:
    """Return the megabytes of state a second, from the first request until it is installed."""
    with opened_ledger(accounts) as ledger:
        chain = ledger.chain
        async with _connected(chain, address) as service:
            network = _Counting(service)
            sync = FastSync(
                chain.database,
                chain.genesis_hash,
                AUTHORITIES,
                EPOCH_BLOCKS,
                network,
                FastLimits(gain_blocks=1),
            )
            started = time.perf_counter()
            with trio.fail_after(LIMIT_SECONDS):
                height = await sync.run()
            seconds = time.perf_counter() - started
        assert height == blocks, f"the state of block {height} was installed"
        return network.state_bytes / MEGABYTE / seconds


class _Counting:
    """The network service, with a count of the received bytes of state."""

    def __init__(self, service: Service) -> None:
        self.state_bytes = 0
        self.peers = service.peers
        self.penalize = service.penalize
        self.changes = service.changes
        self._service = service

    async def request(self, peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
        answer = await self._service.request(peer, kind, body)
        if kind is RequestKind.STATE:
            self.state_bytes += len(answer)
        return answer


@asynccontextmanager
async def _connected(chain: Chain, address: str) -> AsyncIterator[Service]:
    """Run a node's network until it is connected with the server, and within the body."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        seed = blake2b_256(time.monotonic_ns().to_bytes(8, "little"))
        async with serving(chain, seed, Path(folder), address) as service:
            with trio.fail_after(LIMIT_SECONDS):
                while not service.peers():
                    await trio.sleep(0.01)
            yield service


async def _wait_final(chain: Chain, height: int) -> None:
    """Wait until a height is final."""
    with trio.fail_after(LIMIT_SECONDS):
        while chain.finalized.number < height:
            async with chain.events() as events:
                async for _ in events:
                    if chain.finalized.number >= height:
                        return


@contextmanager
def _server(accounts: int, blocks: int, transfers: int) -> Iterator[str]:
    """Start a node to synchronize from, and yield its address. Raises CannotRunError."""
    numbers = map(str, (accounts, blocks, transfers))
    process = subprocess.Popen(
        (sys.executable, "-m", "benchmarks.sync_server", *numbers),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        if not address:
            raise CannotRunError("The node to synchronize from did not start; its error is above.")
        yield address
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
