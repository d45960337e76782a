"""Durability: a node that is killed at random moments loses nothing that it reported as final.

A child process runs chain, pool and author over a stream of signed transfers and prints each
transfer's hash once its status says finalized. The parent kills it with kill -9, reopens the folder
and replays all blocks from genesis over a fresh machine. OPENLEDGER_SCALE=10 makes 50 cycles.
"""

from __future__ import annotations

import os
import random
import resource
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from node.chain.chain import Chain
from node.chain.events import FinalChanged
from node.storage.database import Database
from node.storage.errors import DatabaseError
from node.transactions import status as status_module
from node.transactions.errors import PoolError
from pallets import compose
from runtime.codec.scale import codec
from runtime.crypto.hashing import blake2b_256
from runtime.frame.executive import Executive
from runtime.trie.backend import MemoryBackend
from runtime.types.primitives import AccountId, Header
from tests.conftest import REPOSITORY
from tests.node.support.small_node import (
    ALICE,
    CHARLIE,
    DAVE,
    EVE,
    SmallNode,
    dev_spec,
    run,
    small_node,
)

CYCLES, CYCLES_LONG, LONG_SCALE = 5, 50, 10
BACKLOG = 8
READY = "ready"
DISK_FULL = "DiskFullError"
HEADER = codec(Header)


# ------------------------------------------------------------------------------- the child process


async def stream(node: SmallNode) -> None:
    """Submit transfers for ever, and tell of each that became final."""

    async def follow(raw: bytes) -> None:
        async with node.pool.watch(raw) as statuses:
            async for status in statuses:
                if isinstance(status, status_module.InFinalBlock):
                    print(blake2b_256(raw).hex(), flush=True)

    submitted: dict[AccountId, int] = {}
    async with trio.open_nursery() as nursery, node.chain.events() as events:
        nursery.start_soon(node.author.run)
        print(READY, flush=True)
        while True:
            for pair in (ALICE, CHARLIE, DAVE, EVE):
                account = AccountId(pair.account)
                # What was submitted may not have reached the pool yet.
                nonce = max(node.pool.next_nonce(account), submitted.get(account, 0))
                while nonce < node.chain.nonce(account) + BACKLOG // 4:
                    nursery.start_soon(follow, node.sign(pair, nonce, value=nonce + 1))
                    nonce += 1
                submitted[account] = nonce
            while not isinstance(await events.receive(), FinalChanged):
                continue


async def live(folder: Path) -> None:
    from node.operations.config import Sealing

    async with small_node(folder, Sealing.INSTANT) as node:
        await stream(node)


def child(folder: Path, file_bytes_max: int) -> int:
    """Run until killed; with a limit, files larger than it are a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    if file_bytes_max:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))
    try:
        trio.run(live, folder)
    except BaseExceptionGroup as group:
        names = {type(error).__name__ for error in leaves(group.subgroup(DatabaseError) or group)}
        print(" ".join(sorted(names)), flush=True)
        return 3
    return 0


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def start(folder: Path, file_bytes_max: int = 0) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "tests.node.storage.test_crash",
        str(folder),
        str(file_bytes_max),
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, bufsize=0
    )


# ------------------------------------------------------------------------------------- the parent


@dataclass
class Replayed:
    """What replaying a folder found."""

    height: int
    transfers: set[str]


def replay(folder: Path) -> Replayed:
    """Execute every block again from genesis; asserts that each gives the stored state root."""
    genesis = dev_spec().build()
    state = MemoryBackend()
    state.apply(genesis.changes, genesis.nodes)
    executive, parent = Executive(compose()), genesis.header
    transfers: set[str] = set()
    with Database.open(folder, create=False) as database:
        assert database.head is not None
        for block in database.blocks(1):
            header = HEADER.decode(block.header)
            executed = executive.execute(state, header, block.body, parent)
            assert executed.header.state_root == header.state_root, f"height {block.number}"
            state.apply(executed.changes, executed.nodes)
            transfers |= {blake2b_256(raw).hex() for raw in block.body}
            parent = header
        report = database.check()
        assert report.state_root == parent.state_root
        assert report.keys == len(state.values)
        return Replayed(parent.number, transfers)


def test_a_node_that_is_killed_loses_nothing_that_it_reported(tmp_path: Path, scale: int) -> None:
    seed = int(os.environ.get("OPENLEDGER_SEED", "20"))
    source, reported = random.Random(seed), set[str]()
    cycles = CYCLES_LONG if scale >= LONG_SCALE else CYCLES
    height, repeated = 0, f"OPENLEDGER_SEED={seed} OPENLEDGER_SCALE={scale} pytest {__file__}"
    for cycle in range(cycles):
        process = start(tmp_path)
        assert process.stdout is not None
        assert process.stdout.readline().decode() == f"{READY}\n", f"cycle {cycle}: {repeated}"
        lines = read_and_kill(process, source.uniform(0.0, 1.0))
        reported |= {line for line in lines if len(line) == 64}
        found = replay(tmp_path)
        missing = reported - found.transfers
        assert not missing, f"cycle {cycle}: {len(missing)} lost; {repeated}"
        assert found.height >= height, f"cycle {cycle}: went back; {repeated}"
        height = found.height
    print(f"cycles={cycles} blocks={height} reported={len(reported)} seed={seed}")
    assert reported, repeated


def read_and_kill(process: subprocess.Popen[bytes], seconds: float) -> list[str]:
    """Read whole lines until a moment, kill, and read what was still in the pipe."""
    assert process.stdout is not None
    descriptor, data = process.stdout.fileno(), b""
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if selector.select(left):
                data += os.read(descriptor, 1 << 16)
    process.kill()
    while part := os.read(descriptor, 1 << 16):
        data += part
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    whole, _, _ = data.rpartition(b"\n")
    return whole.decode().splitlines()


def test_a_full_disk_is_named_and_the_node_starts_again_with_nothing_lost(tmp_path: Path) -> None:
    process = start(tmp_path, 300_000)
    output, _ = process.communicate(timeout=60)
    first, *reported, last = output.decode().splitlines()
    assert (first, last, process.returncode) == (READY, DISK_FULL, 3)
    assert len(reported) > 0
    before = replay(tmp_path)
    assert set(reported) <= before.transfers

    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            assert node.chain.best.number == before.height
            node.pool.submit(node.sign())
            await node.author.seal()

    run(scenario)
    assert replay(tmp_path).height == before.height + 1


def test_a_transfer_that_is_final_is_not_taken_again_after_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            raw = node.sign()
            node.pool.submit(raw)
            await node.author.seal()
        with Database.open(tmp_path) as database:
            assert Chain(dev_spec(), database).best.number == 1
        async with small_node(tmp_path) as node:
            with pytest.raises(PoolError, match="outdated"):
                node.pool.submit(raw)

    run(scenario)


if __name__ == "__main__":
    raise SystemExit(child(Path(sys.argv[1]), int(sys.argv[2])))
