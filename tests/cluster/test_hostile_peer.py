"""Real nodes against a hostile peer and a Byzantine validator: they say so, and they go on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import pytest
import trio

from node.client import Client, Wait
from node.client.errors import ClientError
from node.devnet import member
from node.devnet.cluster import Cluster
from node.devnet.ledger import Ledger
from node.devnet.process import until
from node.devnet.report import Probe
from node.devnet.state import SPEC_FILE, Settings
from p2p.transport.libp2p_host import _protocol
from p2p.transport.transport import Channel, RequestError, TransportError
from p2p.transport.wire import MessageKind, RequestKind, encode
from pallets import compose
from runtime.codec.scale import CompactU32, codec
from runtime.crypto.keys import KeyKind, Keypair
from runtime.frame.extrinsic import Additional, Extra, signing_payload
from runtime.frame.machine import Machine
from runtime.shared.finality import NO_DIGEST, Ballot, Equivocation, Kind, Vote
from runtime.types.era import IMMORTAL
from runtime.types.primitives import AccountId, Hash
from tests.cluster.conftest import show_logs
from tests.cluster.support.attacks import ANY, BANNED, Attack, garbage_frames
from tests.cluster.support.byzantine import FAULTS, PROOFS
from tests.cluster.support.hostile import Hostile, hostile

BYZANTINE: Final = Path(__file__).parent / "support" / "byzantine.py"
SETTINGS: Final = Settings(block_time_ms=100, epoch_blocks=40, executors=False, serve=False)
SECONDS: Final = 30.0
TARGET: Final = 0
_vote = codec(Vote)

SYNC_ATTEMPTS: Final = 5


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("hostile") / "devnet"
    made = Cluster.up(folder, "hostile", 4, SETTINGS)
    yield made
    made = Cluster(folder)
    for node in made.members:
        node.kill()


@pytest.fixture(autouse=True)
def logs_of_failures(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    show_logs(cluster, request)


@pytest.fixture(scope="module")
def genesis(cluster: Cluster) -> Hash:
    with Probe(cluster.url(TARGET), timeout_s=SECONDS) as probe:
        (found,) = probe.block_hashes([0])
    assert found is not None
    return Hash(bytes.fromhex(found[2:]))


def log_of(cluster: Cluster, node: int) -> str:
    return cluster.member(node).process.log.read_text(errors="replace")


def expect_line(cluster: Cluster, node: int, pattern: str) -> str:
    """Wait for a line in a node's log, and return it."""
    found: list[str] = []

    def is_there() -> bool:
        found[:] = [line for line in log_of(cluster, node).splitlines() if re.search(pattern, line)]
        return bool(found)

    assert until(is_there, SECONDS), f"no line of node {node} says {pattern}"
    print(found[0])
    return found[0]


def metric(cluster: Cluster, name: str) -> float:
    """A counter of the target."""
    url = cluster.url(TARGET).replace("ws://", "http://") + "/metrics"
    with urllib.request.urlopen(url, timeout=SECONDS) as answer:
        text = answer.read().decode()
    found = re.search(rf"^openledger_network_{name}_total (\S+)$", text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])


def assert_goes_on(cluster: Cluster, blocks: int = 2) -> None:
    """All nodes live, make blocks, and hold one chain."""
    assert cluster.running() == cluster.nodes
    height = cluster.finalized(TARGET)
    cluster.wait_final(height + blocks, seconds=SECONDS)


@asynccontextmanager
async def met(cluster: Cluster, genesis: Hash) -> AsyncIterator[Hostile]:
    address = cluster.member(TARGET).ready_endpoint().p2p[0]
    async with hostile(genesis) as made:
        await made.meet(address)
        yield made


# ------------------------------------------------------------------------ serving who synchronizes


@contextmanager
def node_process(folder: Path, cluster: Cluster, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A follower beside the cluster; its log is FOLDER/log."""
    command = [
        *(*member.COMMAND_LINE, "node", "start", "--chain", str(cluster.folder / SPEC_FILE)),
        *("--base-path", str(folder), "--port", "0", "--p2p-port", "0", "--sealing", "consensus"),
        *("--account", "//Eve", "--no-executor", "--no-serve", *words),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("sync", ["full", pytest.param("fast", marks=pytest.mark.slow)])
def test_who_serves_wrong_blocks_or_state_is_blamed_and_another_serves(
    cluster: Cluster, genesis: Hash, tmp_path: Path, sync: str
) -> None:
    honest = cluster.member(TARGET).ready_endpoint().p2p[0]
    height = cluster.finalized(TARGET)

    async def lie(kind: RequestKind, body: bytes) -> bytes:
        return b"\xff" * 90

    async def sync_once(made: Hostile, folder: Path) -> None:
        words = ("--sync", sync, "--bootnode", made.transport.addresses[0])
        with node_process(folder, cluster, *words, "--bootnode", honest) as process:

            def is_done() -> bool:
                assert process.poll() is None, (folder / "log").read_text()
                return final_in(folder) >= height

            with trio.fail_after(SECONDS):
                while not await trio.to_thread.run_sync(is_done):
                    await trio.sleep(0.1)
        assert made.peer in (folder / "log").read_text()

    async def scenario() -> None:
        async with hostile(genesis, reply=lie, claims=10**6) as made:
            for attempt in range(SYNC_ATTEMPTS):
                await sync_once(made, tmp_path / f"{sync}{attempt}")
                if made.asked:  # else the honest one had given all blocks before this was met
                    return
            raise AssertionError("it was never asked")

    trio.run(scenario)
    assert_goes_on(cluster)


def final_in(folder: Path) -> int:
    """The last final height of a node by its folder; -1 before it listens."""
    try:
        url = json.loads((folder / "endpoint.json").read_text())["rpc"]
        with Probe(url, timeout_s=5) as probe:
            return probe.finalized()
    except (OSError, ValueError, KeyError):
        return -1
    except Exception as error:  # noqa: BLE001 - not yet
        print(error)
        return -1


# --------------------------------------------------------------------- what gets a peer banned


async def repeated(attack: Attack, made: Hostile) -> None:
    """Attack each second: where an epoch ends meanwhile, a vote is too old to be blamed for."""
    while made.is_connected:
        await attack(made)
        with trio.move_on_after(1.0):
            await made.until(lambda: not made.is_connected)


@pytest.mark.parametrize("name", BANNED, ids=[name.replace(" ", "-") for name in BANNED])
def test_who_sends_what_no_node_sends_is_banned_by_its_cause(
    cluster: Cluster, genesis: Hash, name: str
) -> None:
    attack, cause = BANNED[name]
    banned = metric(cluster, "peers_banned")

    async def scenario() -> str:
        async with met(cluster, genesis) as made:
            with trio.move_on_after(SECONDS):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(repeated, attack, made)
                    await made.until(lambda: not made.is_connected)
                    nursery.cancel_scope.cancel()
            assert not made.is_connected, "it is not disconnected"
            return made.peer

    peer = trio.run(scenario)
    line = expect_line(cluster, TARGET, rf"peer-banned peer={peer} ")
    assert re.search(cause, line), line
    assert metric(cluster, "peers_banned") == banned + 1
    assert_goes_on(cluster)


def test_a_banned_peer_is_refused_when_it_comes_again(cluster: Cluster, genesis: Hash) -> None:
    address = cluster.member(TARGET).ready_endpoint().p2p[0]
    seed = os.urandom(32)

    async def scenario() -> None:
        async with hostile(genesis, seed=seed) as made:
            await made.meet(address)
            await garbage_frames(made)
            await made.until(lambda: not made.is_connected)
        async with hostile(genesis, seed=seed) as made:
            if await made.dial(address):
                await made.frames(Channel.CONTROL, made.status())
                await made.until(lambda: not made.is_connected)
            assert made.heard == [], "nothing is said to it, and nothing it says is taken"

    trio.run(scenario)
    assert_goes_on(cluster)


# ---------------------------------------------------------------------- what gets a peer refused


@pytest.mark.parametrize("early", ["vote", "genesis", "version"])
def test_who_is_not_of_this_chain_or_speaks_too_early_is_refused(
    cluster: Cluster, genesis: Hash, early: str
) -> None:
    address = cluster.member(TARGET).ready_endpoint().p2p[0]

    async def scenario() -> str:
        async with hostile(genesis) as made:
            assert await made.dial(address)
            if early == "vote":
                await made.say(MessageKind.VOTE, b"x" * 100)
            elif early == "genesis":
                await made.frames(Channel.CONTROL, made.status(ANY))
            else:
                await made.frames(Channel.CONTROL, made.status(version=7))
            await made.until(lambda: not made.is_connected)
            return made.peer

    peer = trio.run(scenario)
    line = expect_line(cluster, TARGET, rf"peer-refused peer={peer} ")
    wanted = {"vote": "before its status", "genesis": "genesis block", "version": "version 7"}
    assert wanted[early] in line
    assert_goes_on(cluster)


def test_requests_of_garbage_are_refused(cluster: Cluster, genesis: Hash) -> None:
    async def scenario() -> None:
        async with met(cluster, genesis) as made:
            for kind in RequestKind:
                with pytest.raises(RequestError):
                    await made.transport.request(made.target, encode(kind, b"\xff" * 45))
            for _ in range(4):
                with pytest.raises(TransportError):
                    await made.transport.request(made.target, b"\xc1garbage")

    trio.run(scenario)
    assert_goes_on(cluster)


# ----------------------------------------------------------- what changes nothing, and bans nobody


def test_replayed_reordered_and_far_messages_change_nothing(
    cluster: Cluster, genesis: Hash
) -> None:
    """Every node says again what others said, so nobody is blamed for it."""
    banned = metric(cluster, "peers_banned")

    async def scenario() -> None:
        async with met(cluster, genesis) as made:
            await made.until(lambda: len(made.bodies(MessageKind.VOTE)) > 20)
            first = list(made.heard)
            await trio.sleep(2.5)  # beyond what the service remembers
            for kind, body in [*first, *reversed(first)]:
                if kind in (MessageKind.VOTE, MessageKind.CERTIFICATE, MessageKind.PROPOSAL):
                    await made.say(kind, body)
            vote = _vote.decode(made.bodies(MessageKind.VOTE)[-1])
            for epoch in (vote.ballot.epoch + 1, 2**40, 2**64 - 1):
                ballot = Ballot(epoch, 1, Kind.NULLIFY, NO_DIGEST)
                await made.say(MessageKind.VOTE, _vote.encode(Vote(ballot, 0, bytes(64))))
            await trio.sleep(0.5)
            assert made.is_connected

    trio.run(scenario)
    assert metric(cluster, "peers_banned") == banned
    for node in cluster.nodes:
        assert "Another node votes" not in log_of(cluster, node)
    assert_goes_on(cluster)


@pytest.mark.slow
def test_who_stalls_in_the_middle_of_a_frame_and_answers_no_ping_is_left(
    cluster: Cluster, genesis: Hash
) -> None:
    async def scenario() -> str:
        async with met(cluster, genesis) as made:
            made.answers_pings = False
            stream = await made.transport._open(made.target, _protocol(Channel.CONSENSUS))
            await stream.write((200).to_bytes(4, "little") + b"half")
            await made.until(lambda: not made.is_connected, seconds=SECONDS)
            return made.peer

    peer = trio.run(scenario)
    assert "does not answer pings" in expect_line(
        cluster, TARGET, rf"peer-disconnected peer={peer} "
    )
    assert_goes_on(cluster)


def test_a_flood_of_invalid_transactions_holds_up_no_block(cluster: Cluster, genesis: Hash) -> None:
    """Batches of 60,000 calls: first of accounts that do not exist, then of one with money, whose
    calls are damaged at their end, so that all of them are decoded in vain."""
    refused = metric(cluster, "gossip_refused")
    began = cluster.finalized(TARGET)

    async def scenario() -> None:
        async with met(cluster, genesis) as made:
            for _ in range(24):
                await made.gossip(stranger_batch())
                await trio.sleep(0.1)
            assert await trio.to_thread.run_sync(cluster.finalized, TARGET) > began + 5
            with trio.fail_after(SECONDS):
                number = 0
                while await trio.to_thread.run_sync(metric, cluster, "gossip_refused") == refused:
                    await made.gossip(damaged_batch(genesis, number))
                    await trio.sleep(0.1)
                    number += 1
            assert made.is_connected

    trio.run(scenario)
    assert_goes_on(cluster, blocks=5)


CALLS: Final = b"\1\0" + codec(CompactU32).encode(60_000) + bytes(3 * 60_000)
"""Utility.batch of empty remarks: 180 KB that take hundreds of milliseconds to decode."""


@cache
def machine() -> Machine:
    return compose()


def stranger_batch() -> bytes:
    account, signature = AccountId(os.urandom(32)), os.urandom(64)
    extrinsics = machine().extrinsics
    return extrinsics.assemble(CALLS, Extra(IMMORTAL, 0, 0), account, KeyKind.ED25519, signature)


def damaged_batch(genesis: Hash, nonce: int) -> bytes:
    runtime, pair = machine(), Keypair.from_uri("//Ferdie", KeyKind.SR25519)
    call, extra = CALLS[:-1] + b"\xff", Extra(IMMORTAL, nonce, 0)
    version = runtime.version
    additional = Additional(version.spec_version, version.transaction_version, genesis, genesis)
    signature = pair.sign(signing_payload(call, runtime.codec(Extra).encode(extra), additional))
    return runtime.extrinsics.assemble(call, extra, AccountId(pair.account), pair.kind, signature)


def test_bogus_evidence_convicts_nobody(cluster: Cluster) -> None:
    first = Vote(Ballot(0, 1, Kind.NOTARIZE, ANY), 1, bytes(64))
    second = Vote(Ballot(0, 1, Kind.NOTARIZE, Hash(bytes(32))), 1, bytes([1]) * 64)
    with cluster.client(TARGET) as client:
        before = client.query("Session", "authorities").authorities
        call = client.make_call("Offences", "report", evidence=Equivocation(first, second))
        signed = client.sign(call, Keypair.from_uri("//Ferdie", KeyKind.SR25519))
        assert "Offences" in refusal_of(client, signed)
        assert client.query("Session", "authorities").authorities == before
    assert_goes_on(cluster)


def refusal_of(client: Client, signed: object) -> str:
    """What a chain or a node says against a signed call."""
    try:
        return str(client.submit(signed, Wait.FINAL))  # type: ignore[arg-type]
    except ClientError as error:
        return f"{type(error).__name__} {error}"


# ------------------------------------------------------------------------- a Byzantine validator


@pytest.mark.slow
def test_blocks_that_are_wrong_in_any_way_are_skipped_and_the_chain_goes_on(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test of the module: it turns one validator."""
    wrong = cluster.nodes[-1]
    cluster.stop(wrong)
    monkeypatch.setattr(member, "PROGRAM", (sys.executable, str(BYZANTINE)))
    began = cluster.finalized(TARGET)
    start = time.monotonic()
    cluster.start(wrong)
    faults = [*(fault.__name__ for fault in FAULTS), *PROOFS]
    for fault in faults:
        expect_line(cluster, wrong, f"byzantine-proposed fault={fault} ")
        assert cluster.running() == cluster.nodes, f"after {fault}"
    peer = cluster.member(wrong).ready_endpoint().peer_id
    expect_line(cluster, TARGET, f"peer-banned peer={peer} ")
    print(f"{len(faults)} wrong proposals in {time.monotonic() - start:.1f} s")
    for cause in CAUSES:
        expect_line(cluster, TARGET, cause)
    honest = cluster.nodes[:-1]
    cluster.wait_final(began + 20, honest, seconds=SECONDS)
    Ledger(cluster).assert_one_chain()


CAUSES: Final = (
    "block-refused .*state root",
    "block-refused .*extrinsic [0-9]+: ",
    "block-not-executed .*ahead of this machine's clock",
    "block-refused .*at most [0-9]+ extrinsics",
    "block-refused .*at most [0-9]+ bytes",
)
