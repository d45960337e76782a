"""A disk that fills up while nodes run on it: they say so, and go on by themselves when it is free.

The disk is a small file system of its own, so the tests need the right to mount one.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx
import pytest

from node.client import Client, Finalized, MayStillLandError, Wait
from node.demo.node_process import NodeProcess
from node.devnet.cluster import Cluster
from node.devnet.state import Settings, node_folder
from runtime.crypto.keys import Keypair
from runtime.types.primitives import AccountId, Id

ALICE: Final = Keypair.from_uri("//Alice")
BOB: Final = Keypair.from_uri("//Bob")
DISK: Final = "size=128m"
WAIT_SECONDS: Final = 60.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("there is no mount command")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", DISK, "tmpfs", str(folder)], check=False, capture_output=True
    )
    if made.returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Take all space, as a forgotten log would."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))
    assert shutil.disk_usage(disk).free < 1 << 20
    return ballast


def transfer(client: Client, wait_s: float) -> bool:
    """Send a transfer; return whether it became final."""
    dest = Id(AccountId(BOB.account))
    call = client.make_call("Balances", "transfer_keep_alive", dest=dest, value=10**18)
    try:
        landed = client.submit(client.sign(call, ALICE), Wait.FINAL, wait_s=wait_s)
    except MayStillLandError:
        return False
    return isinstance(landed, Finalized)


def wait_health(url: str, *, status: int, kind: str = "") -> dict[str, object]:
    """Wait for an answer of /health."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        answer = httpx.get(f"{url}/health")
        found = answer.json()
        kinds = [problem["kind"] for problem in found["problems"]]
        if answer.status_code == status and (not kind or kind in kinds):
            return dict(found)
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def test_a_solo_node_goes_on_when_its_disk_has_room_again(disk: Path) -> None:
    with NodeProcess(disk, "--no-executor", "--block-time-ms", "200") as node:
        url = node.url.replace("ws://", "http://")
        with Client(node.url) as client:
            assert transfer(client, 30.0)
            ballast = fill(disk)
            wait_health(url, status=503, kind="disk")
            metrics = httpx.get(f"{url}/metrics").text
            assert 'openledger_health_problem_status{problem="disk"} 1.0' in metrics
            assert "goes on by itself" in client.problems()[0]
            assert not transfer(client, 2.0)
            ballast.unlink()
            wait_health(url, status=200)
            assert transfer(client, 30.0)


@pytest.mark.slow
def test_a_validator_whose_disk_was_full_votes_again_by_itself(disk: Path, tmp_path: Path) -> None:
    """With one of four disks full the others go on; with two full finality waits for one."""
    settings = Settings(block_time_ms=300, epoch_blocks=20, executors=False, serve=False)
    cluster = Cluster.up(tmp_path / "devnet", "disks", 4, settings)
    try:
        cluster.wait_final(3, seconds=WAIT_SECONDS)
        cluster.stop(3)
        shutil.copytree(
            node_folder(cluster.folder, 3), disk / "3", ignore=shutil.ignore_patterns("*.sock")
        )
        shutil.rmtree(node_folder(cluster.folder, 3))
        node_folder(cluster.folder, 3).symlink_to(disk / "3")
        cluster.start(3)
        cluster.wait_final(cluster.finalized(0) + 3, seconds=WAIT_SECONDS)
        ballast = fill(disk)
        url = cluster.url(3).replace("ws://", "http://")
        wait_health(url, status=503, kind="disk")
        height = cluster.finalized(0)
        cluster.wait_final(height + 3, nodes=(0, 1, 2), seconds=WAIT_SECONDS)
        cluster.kill(2)
        wait_health(cluster.url(0).replace("ws://", "http://"), status=503, kind="finality")
        ballast.unlink()
        cluster.wait_final(cluster.finalized(0) + 3, nodes=(0, 1, 3), seconds=WAIT_SECONDS)
        wait_health(url, status=200)
        assert cluster.running() == (0, 1, 3)
    finally:
        for member in cluster.members:
            member.kill()
