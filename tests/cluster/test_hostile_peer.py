"""Real nodes against a hostile peer and a Byzantine validator: they say so, and they go on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
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
from p2p.protocols.transactions import topic_of
from p2p.transport.libp2p_host import _protocol
from p2p.transport.transport import Channel, RequestError, TransportError
from p2p.transport.wire import MessageKind, RequestKind, encode
from runtime.codec.scale import codec
from runtime.crypto.keys import KeyKind, Keypair
from runtime.shared.finality import NO_DIGEST, Ballot, Certificate, Equivocation, Kind, Vote
from runtime.types.primitives import Hash
from tests.cluster.conftest import show_logs
from tests.cluster.support.byzantine import FAULTS, PROOFS
from tests.cluster.support.hostile import Hostile, hostile, raw_frame

BYZANTINE: Final = Path(__file__).parent / "support" / "byzantine.py"
SETTINGS: Final = Settings(block_time_ms=100, epoch_blocks=40, executors=False, serve=False)
ANY: Final = Hash(bytes([5]) * 32)
SECONDS: Final = 30.0
TARGET: Final = 0
_vote, _certificate = codec(Vote), codec(Certificate)

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


async def current_ballot(made: Hostile) -> Ballot:
    """The newest ballot that the node talks about."""
    await made.until(lambda: made.has_heard(MessageKind.VOTE))
    votes = [_vote.decode(body) for body in made.bodies(MessageKind.VOTE)]
    return max(votes, key=lambda vote: (vote.ballot.epoch, vote.ballot.view)).ballot


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

Attack = Callable[[Hostile], Awaitable[object]]


async def garbage_frames(made: Hostile) -> None:
    await made.frames(Channel.CONSENSUS, *[os.urandom(50) for _ in range(5)])


async def oversize_frames(made: Hostile) -> None:
    vote = raw_frame(MessageKind.VOTE, bytes(5_000))
    await made.frames(Channel.CONSENSUS, *[vote] * 5)


async def unknown_kinds(made: Hostile) -> None:
    await made.frames(Channel.CONTROL, *[raw_frame(99, bytes(number)) for number in range(5)])


async def wrong_channel(made: Hostile) -> None:
    await made.frames(Channel.CONTROL, *[raw_frame(MessageKind.VOTE, b"x") for _ in range(5)])


def garbage_of(kind: MessageKind) -> Attack:
    async def attack(made: Hostile) -> None:
        await made.say(kind, *[bytes([255 - number]) * 40 for number in range(6)])

    return attack


async def votes_of_non_members(made: Hostile) -> None:
    ballot = await current_ballot(made)
    votes = [Vote(ballot, voter, os.urandom(64)) for voter in range(200, 206)]
    await made.say(MessageKind.VOTE, *map(_vote.encode, votes))


async def forged_votes(made: Hostile) -> None:
    """Votes of members that they did not sign, as many as a quorum."""
    while made.is_connected:
        ballot = await current_ballot(made)
        for ahead in range(2, 6):
            forged = Ballot(ballot.epoch, ballot.view + ahead, Kind.NOTARIZE, ANY)
            votes = [Vote(forged, voter, os.urandom(64)) for voter in range(4)]
            await made.say(MessageKind.VOTE, *map(_vote.encode, votes))
        await trio.sleep(0.02)


async def forged_certificates(made: Hostile) -> None:
    while made.is_connected:
        ballot = await current_ballot(made)
        forged = [
            Certificate(
                Ballot(ballot.epoch, ballot.view + ahead, kind, digest),
                tuple((voter, os.urandom(64)) for voter in range(4)),
            )
            for ahead in (1, 2)
            for kind, digest in ((Kind.FINALIZE, ANY), (Kind.NULLIFY, NO_DIGEST))
        ]
        await made.say(MessageKind.CERTIFICATE, *map(_certificate.encode, forged))
        await trio.sleep(0.02)


async def changed_proposals(made: Hostile) -> None:
    """Proposals of the leader whose last bytes are others."""
    while made.is_connected:
        for body in made.bodies(MessageKind.PROPOSAL)[-4:]:
            await made.say(MessageKind.PROPOSAL, body + b"\0", body[:-1])
        await trio.sleep(0.02)


async def a_flood(made: Hostile) -> None:
    ballot = await current_ballot(made)
    number = 0
    while made.is_connected:
        votes = [
            _vote.encode(Vote(ballot, 1, (number + more).to_bytes(64, "big")))
            for more in range(2_000)
        ]
        number += 2_000
        await made.say(MessageKind.VOTE, *votes)


async def forged_addresses(made: Hostile) -> None:
    await made.say(MessageKind.ADDRESSES, *[os.urandom(60 + number) for number in range(6)])


async def garbage_gossip(made: Hostile) -> None:
    while made.is_connected:
        await made.transport.publish(topic_of(made.genesis), os.urandom(80))
        await trio.sleep(0.05)


BANNED: Final[dict[str, tuple[Attack, str]]] = {
    "garbage frames": (garbage_frames, "not an envelope|longer form|array of three|version"),
    "oversize frames": (oversize_frames, "VOTE has 5000 bytes, more than 256"),
    "unknown kinds": (unknown_kinds, "no message of kind 99"),
    "a wrong channel": (wrong_channel, "VOTE came on control"),
    "garbage votes": (garbage_of(MessageKind.VOTE), "bad-message"),
    "garbage certificates": (garbage_of(MessageKind.CERTIFICATE), "bad-message"),
    "garbage proposals": (garbage_of(MessageKind.PROPOSAL), "bad-message"),
    "garbage asks": (garbage_of(MessageKind.CERTIFICATE_REQUEST), "bad-message"),
    "garbage statuses": (garbage_of(MessageKind.STATUS), "the status cannot be read"),
    "forged addresses": (forged_addresses, "bad-frame"),
    "votes of no member": (votes_of_non_members, "a vote is malformed"),
    "forged votes": (forged_votes, "a vote is forged"),
    "forged certificates": (forged_certificates, "a certificate proves nothing"),
    "changed proposals": (changed_proposals, "bad-message"),
    "a flood": (a_flood, "too many frames on consensus"),
    "garbage gossip": (garbage_gossip, "bad-frame"),
}


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
