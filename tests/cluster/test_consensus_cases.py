"""What stopped consensus, or what it kept silent about, on real processes.

Bodies that do not arrive, copies of a validator's data folder, clocks that are wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
import trio

from node.devnet import member
from node.devnet.cluster import Cluster
from node.devnet.state import SPEC_FILE, Settings, node_folder
from runtime.crypto.keys import Keypair
from runtime.errors import ExitCode
from runtime.types.primitives import AccountId, Hash
from tests.cluster.conftest import Devnet
from tests.cluster.support.hostile import hostile

BYZANTINE: Final = Path(__file__).parent / "support" / "byzantine.py"
EPOCH_BLOCKS: Final = 10
SETTINGS: Final = Settings(
    block_time_ms=300, epoch_blocks=EPOCH_BLOCKS, executors=False, serve=False
)
SECONDS: Final = 90.0
LOST_SECONDS: Final = 12.0
LAST: Final = 3


def test_a_validator_whose_bodies_were_lost_executes_them_when_they_come(
    devnet: Devnet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Three of four are needed, and one of them lacks the body of what is certified."""
    lost = tmp_path / "lost"
    cluster = devnet(settings=SETTINGS)
    cluster.stop(LAST)
    with monkeypatch.context() as patched:
        patched.setattr(member, "PROGRAM", (sys.executable, str(BYZANTINE)))
        patched.setenv("BYZANTINE_NO_BODIES", str(lost))
        cluster.start(LAST)
    cluster.wait_final(cluster.finalized(0) + 2, seconds=SECONDS)
    lost.touch()
    cluster.wait_final(cluster.finalized(0) + 3, nodes=(0, 1, 2), seconds=SECONDS)
    cluster.kill(2)
    time.sleep(LOST_SECONDS)
    sentence = sentence_of(cluster, LAST)
    assert "of the proposed blocks" in sentence
    lost.unlink()
    cluster.wait_final(cluster.finalized(0) + 3, nodes=(0, 1, LAST), seconds=SECONDS)


def sentence_of(cluster: Cluster, node: int) -> str:
    with cluster.client(node) as client:
        return str(client.call("openledger_consensus")["sentence"])


# ------------------------------------------------------------------------------ doppelgangers


def copy_of(cluster: Cluster, target: Path) -> None:
    """Copy the data folder of the last node while it is off for a moment; not where it listens."""
    cluster.kill(LAST)
    shutil.copytree(
        node_folder(cluster.folder, LAST),
        target,
        ignore=shutil.ignore_patterns("*.sock", "endpoint.json"),
    )
    cluster.start(LAST)


def start_words(cluster: Cluster, base_path: Path) -> list[str]:
    account = cluster.state.node(LAST).account
    return [
        *(*member.COMMAND_LINE, "node", "start", "--chain", str(cluster.folder / SPEC_FILE)),
        *("--base-path", str(base_path), "--port", "0", "--p2p-port", "0"),
        *("--sealing", "consensus", "--no-executor", "--no-serve", "--doppelganger"),
        *("--validator", "--session-key", account, "--account", account),
        *(
            word
            for node in range(LAST)
            for word in ("--bootnode", cluster.member(node).ready_endpoint().p2p[0])
        ),
    ]


def history_of(folder: Path) -> bytes:
    """What a session key has signed, from a data folder."""
    (found,) = folder.glob("chains/*/consensus/*.mark")
    return found.read_bytes()


RUNS: Final = [
    pytest.param(behind, has_own_peer_key, marks=[] if number == 0 else pytest.mark.slow)
    for number, (behind, has_own_peer_key) in enumerate(
        [(1, False), (1, True), (2, False), (2, True), (3, False), (3, True), (1, False), (1, True)]
    )
]


@pytest.mark.parametrize(("behind", "has_own_peer_key"), RUNS)
def test_a_copy_of_a_validator_from_epochs_ago_never_votes_and_ends_with_its_own_code(
    devnet: Devnet, tmp_path: Path, behind: int, has_own_peer_key: bool
) -> None:
    """With the same peer key its peers refuse it; with one of its own it hears the original."""
    cluster = devnet(settings=SETTINGS)
    cluster.wait_final(2, seconds=SECONDS)
    copy = tmp_path / "copy"
    copy_of(cluster, copy)
    signed = history_of(copy)
    epoch = cluster.finalized(0) // EPOCH_BLOCKS
    cluster.wait_final((epoch + behind) * EPOCH_BLOCKS + 2, seconds=SECONDS)
    if has_own_peer_key:
        (peer_key,) = copy.glob("chains/*/peer*")
        peer_key.unlink()
    done = subprocess.run(
        start_words(cluster, copy), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == ExitCode.DOPPELGANGER, done.stderr
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert ("session key of this one" if has_own_peer_key else "data folder is a copy") in error
    assert history_of(copy) == signed, "the copy has signed something"
    cluster.wait_final(cluster.finalized(0) + 3, seconds=SECONDS)
    stash = AccountId(Keypair.from_uri(cluster.state.node(LAST).account).account)
    with cluster.client(0) as client:
        assert not client.query("Staking", "tombstones", stash), "the original was convicted"


STRANGER_SECONDS: Final = 40.0
"""Longer than a network has to stand still before a validator believes it."""


@contextmanager
def started(words: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a node beside the cluster, and end it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            words, stdout=output, stderr=output, env={**os.environ, **environment}
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_copy_that_no_block_reaches_never_votes_in_the_epoch_that_is_over(
    devnet: Devnet, tmp_path: Path
) -> None:
    """It hears nobody in its own epoch, and that is no sign that the network stands still."""
    cluster = devnet(settings=SETTINGS)
    cluster.wait_final(2, seconds=SECONDS)
    copy, lost, log = tmp_path / "copy", tmp_path / "lost", tmp_path / "log"
    copy_of(cluster, copy)
    signed = history_of(copy)
    epoch = cluster.finalized(0) // EPOCH_BLOCKS
    cluster.wait_final((epoch + 1) * EPOCH_BLOCKS + 2, seconds=SECONDS)
    (peer_key,) = copy.glob("chains/*/peer*")
    peer_key.unlink()
    lost.touch()
    words = [sys.executable, str(BYZANTINE), *start_words(cluster, copy)[len(member.PROGRAM) :]]
    with started(words, log, BYZANTINE_NO_BODIES=str(lost)) as process:
        deadline = time.monotonic() + STRANGER_SECONDS
        while time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            assert history_of(copy) == signed, "the copy has signed something"
            time.sleep(0.3)
    assert b"waits-for='the current epoch'" in log.read_bytes()


@pytest.mark.slow
def test_a_stranger_who_says_that_he_votes_lets_no_copy_vote(
    devnet: Devnet, tmp_path: Path
) -> None:
    """All real peers refuse its key, and the stranger is the only one that takes it."""
    cluster = devnet(settings=SETTINGS)
    cluster.wait_final(2, seconds=SECONDS)
    copy, log = tmp_path / "copy", tmp_path / "log"
    copy_of(cluster, copy)
    signed = history_of(copy)
    cluster.wait_final(cluster.finalized(0) + 2, seconds=SECONDS)
    with cluster.client(0) as client:
        genesis = Hash(client.genesis_hash)

    async def stay(process: subprocess.Popen[bytes]) -> None:
        endpoint = copy / "endpoint.json"
        with trio.fail_after(SECONDS):
            while not endpoint.exists():
                await trio.sleep(0.1)
        (address, *_) = json.loads(endpoint.read_text())["p2p"]
        async with hostile(genesis) as made:
            await made.meet(address)
            with trio.move_on_after(STRANGER_SECONDS):
                while process.poll() is None:
                    await trio.sleep(0.2)

    with started(start_words(cluster, copy), log) as process:
        trio.run(stay, process)
        assert process.wait(SECONDS) == ExitCode.DOPPELGANGER, log.read_text()
    assert b"data folder is a copy" in log.read_bytes()
    assert history_of(copy) == signed, "the copy has signed something"


@pytest.mark.slow
def test_an_honest_validator_votes_again_after_a_long_pause(devnet: Devnet, tmp_path: Path) -> None:
    cluster = devnet(settings=SETTINGS)
    cluster.wait_final(2, seconds=SECONDS)
    cluster.stop(LAST)
    epoch = cluster.finalized(0) // EPOCH_BLOCKS
    cluster.wait_final((epoch + 3) * EPOCH_BLOCKS, nodes=range(LAST), seconds=SECONDS)
    folder = node_folder(cluster.folder, LAST)
    signed = len(history_of(folder))
    log = (tmp_path / "again.log").open("w")
    again = subprocess.Popen(start_words(cluster, folder), stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + SECONDS
        while len(history_of(folder)) <= signed:
            assert again.poll() is None, (tmp_path / "again.log").read_text()
            assert time.monotonic() < deadline, "it does not vote"
            time.sleep(0.2)
        cluster.kill(2)  # from here on finality needs its votes
        cluster.wait_final(cluster.finalized(0) + 3, nodes=(0, 1), seconds=SECONDS)
    finally:
        again.kill()
        again.wait()
        log.close()


# -------------------------------------------------------------------------------------- clocks


@pytest.mark.slow
def test_a_clock_that_is_behind_is_named_while_finality_stands(
    devnet: Devnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of five clocks is ten minutes behind and one node is down: three of five are too few."""
    cluster = devnet(5, SETTINGS)
    cluster.stop(LAST)
    with monkeypatch.context() as patched:
        patched.setattr(member, "PROGRAM", (sys.executable, str(BYZANTINE)))
        patched.setenv("BYZANTINE_CLOCK_MS", str(-600_000))
        cluster.start(LAST)
    cluster.wait_final(cluster.finalized(0) + 3, seconds=SECONDS)
    cluster.kill(4)
    deadline = time.monotonic() + SECONDS
    account = cluster.state.node(LAST).account
    while True:
        healthy, behind = sentence_of(cluster, 0), sentence_of(cluster, LAST)
        if "Skipping most views" in healthy:
            break
        assert time.monotonic() < deadline, json.dumps([healthy, behind])
        time.sleep(0.5)
    assert healthy.startswith(("Finality stands", "Finality is slow or stops."))
    assert account in healthy.split("Skipping most views: ")[1]
    assert "This machine's clock is 6" in behind or "This machine's clock is 5" in behind
    cluster.start(4)
    cluster.wait_final(cluster.finalized(0) + 3, nodes=(0, 1, 2, 4), seconds=SECONDS)
