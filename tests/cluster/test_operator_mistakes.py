"""What operators do wrong with real nodes: a node says so in one sentence, and harms nobody."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from genesis.devnet import devnet_spec
from node.devnet import member
from node.devnet.cluster import Cluster
from node.devnet.ledger import Ledger
from node.devnet.process import until
from node.devnet.state import SPEC_FILE, Settings, node_folder
from runtime.crypto.keys import Keypair
from runtime.types.primitives import AccountId
from tests.cluster.conftest import show_logs

pytestmark = pytest.mark.slow

BYZANTINE: Final = Path(__file__).parent / "support" / "byzantine.py"
SETTINGS: Final = Settings(block_time_ms=200, epoch_blocks=1_000, executors=False, serve=False)
SECONDS: Final = 60.0
LAST: Final = 3
JUMP_MS: Final = 600_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("mistakes") / "devnet"
    made = Cluster.up(folder, "mistakes", 4, SETTINGS)
    yield made
    for node in Cluster(folder).members:
        node.kill()


@pytest.fixture(autouse=True)
def logs_of_failures(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    show_logs(cluster, request)


def words_of(cluster: Cluster, base_path: Path, *words: str) -> list[str]:
    """The command of a node beside the cluster; later words win."""
    return [
        *(*member.COMMAND_LINE, "node", "start", "--chain", str(cluster.folder / SPEC_FILE)),
        *("--base-path", str(base_path), "--port", "0", "--p2p-port", "0"),
        *("--sealing", "consensus", "--account", "//Eve", "--no-executor", "--no-serve", *words),
    ]


def refusal(cluster: Cluster, base_path: Path, *words: str) -> str:
    """Start a node that must refuse to start, and return its last line."""
    done = subprocess.run(
        words_of(cluster, base_path, *words),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode not in (0, -signal.SIGKILL), done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, done.stderr
    print(errors[0])
    return errors[0]


def assert_goes_on(cluster: Cluster, blocks: int = 3) -> None:
    assert cluster.running() == cluster.nodes
    cluster.wait_final(cluster.finalized(0) + blocks, seconds=SECONDS)


def chain_folder(cluster: Cluster, node: int) -> Path:
    (found,) = (node_folder(cluster.folder, node) / "chains").iterdir()
    return found


def log_of(cluster: Cluster, node: int) -> str:
    return cluster.member(node).process.log.read_text(errors="replace")


# ----------------------------------------------------------------------------- starts refused


def test_a_second_node_on_one_folder_is_refused_and_the_first_goes_on(cluster: Cluster) -> None:
    assert "in use" in refusal(cluster, node_folder(cluster.folder, 0))
    assert_goes_on(cluster)


def test_a_peer_port_that_is_taken_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    port = cluster.member(0).ready_endpoint().p2p_port
    said = refusal(cluster, tmp_path, "--p2p-port", str(port))
    assert f"{port}" in said
    assert "another port" in said


def test_a_chain_without_validators_cannot_be_decided_by_a_network(
    cluster: Cluster, tmp_path: Path
) -> None:
    spec = devnet_spec(4)
    assert spec.pallets is not None
    session = {**spec.pallets["session"], "validators": []}
    path = tmp_path / "nobody.json"
    path.write_text(replace(spec, pallets={**spec.pallets, "session": session}).to_json())
    assert "has no validators" in refusal(cluster, tmp_path, "--chain", str(path))


def test_a_signer_that_is_absent_is_named(cluster: Cluster, tmp_path: Path) -> None:
    words = ("--validator", "--signer", str(tmp_path / "nobody.sock"))
    assert "does not answer" in refusal(cluster, tmp_path / "node", *words)


def test_a_key_that_votes_elsewhere_stops_a_node_before_it_votes(
    cluster: Cluster, tmp_path: Path
) -> None:
    words = ("--validator", "--session-key", "//Alice", "--doppelganger", "--bootnode")
    address = cluster.member(1).ready_endpoint().p2p[0]
    said = refusal(cluster, tmp_path, *words, address)
    assert "either another node uses the key, or the history was lost" in said.lower()
    (history,) = (tmp_path / "chains").glob("*/consensus/*.mark")
    assert history.stat().st_size == 0, "it has signed nothing"
    assert_goes_on(cluster)


# --------------------------------------------------------------------------------- clock jumps


@pytest.mark.parametrize("jump_ms", [JUMP_MS, -JUMP_MS], ids=["ahead", "behind"])
def test_a_clock_that_is_wrong_by_minutes_stops_nothing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, jump_ms: int
) -> None:
    cluster.stop(LAST)
    with monkeypatch.context() as patched:
        patched.setattr(member, "PROGRAM", (sys.executable, str(BYZANTINE)))
        patched.setenv("BYZANTINE_CLOCK_MS", str(jump_ms))
        cluster.start(LAST)
    assert_goes_on(cluster, blocks=12)  # three turns of each leader
    said = log_of(cluster, 0 if jump_ms > 0 else LAST)
    assert "ahead of this machine's clock" in said
    Ledger(cluster).assert_one_chain()
    cluster.stop(LAST)
    cluster.start(LAST)
    assert_goes_on(cluster)


# -------------------------------------------------------------------------- damaged files


@contextmanager
def killed(cluster: Cluster, node: int) -> Iterator[Path]:
    """Kill a node for the length of a block, give its consensus folder, and start it again."""
    cluster.kill(node)
    yield chain_folder(cluster, node) / "consensus"
    cluster.start(node)
    assert_goes_on(cluster)


def start_words(cluster: Cluster, node: int) -> tuple[str, ...]:
    account = cluster.state.node(node).account
    return ("--validator", "--session-key", account, "--account", account, "--no-doppelganger")


@pytest.mark.parametrize("lost_bytes", [1, 50, 10_000_000])
def test_a_log_that_is_torn_or_lost_is_gone_on_with(cluster: Cluster, lost_bytes: int) -> None:
    """The signing history, a file of its own, keeps the node from voting twice."""
    with killed(cluster, LAST) as folder:
        log = folder / "log"
        size = log.stat().st_size
        assert size
        os.truncate(log, max(0, size - lost_bytes))
    with cluster.client(0) as client:
        assert not client.query("Staking", "tombstones", _stash(cluster)), "it never voted twice"


def _stash(cluster: Cluster) -> AccountId:
    return AccountId(Keypair.from_uri(cluster.state.node(LAST).account).account)


def test_a_log_or_a_mark_that_is_damaged_in_the_middle_is_refused(cluster: Cluster) -> None:
    with killed(cluster, LAST) as folder:
        base_path = node_folder(cluster.folder, LAST)
        (history,) = folder.glob("*.mark")
        for path, remedy in ((folder / "log", "repair-log"), (history, "mark")):
            kept = path.with_suffix(".kept")
            shutil.copy(path, kept)
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 0xFF
            path.write_bytes(data)
            said = refusal(cluster, base_path, *start_words(cluster, LAST))
            assert "damaged" in said
            assert remedy in said
            kept.replace(path)


def test_a_folder_of_another_chain_with_this_name_is_refused(
    cluster: Cluster, tmp_path: Path
) -> None:
    other = devnet_spec(4, epoch_blocks=7)
    path = tmp_path / "other.json"
    path.write_text(other.to_json())
    with killed(cluster, LAST):
        base_path = node_folder(cluster.folder, LAST)
        assert json.loads(path.read_text())["id"] == chain_folder(cluster, LAST).name
        said = refusal(cluster, base_path, *start_words(cluster, LAST), "--chain", str(path))
        assert "genesis" in said.lower() or "chain" in said.lower()


# --------------------------------------------------------------------------- a remote signer


@contextmanager
def remote_signer(cluster: Cluster, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        *(*member.COMMAND_LINE, "signer", "--chain", str(cluster.folder / SPEC_FILE)),
        *("--base-path", str(folder), "--session-key", cluster.state.node(LAST).account),
        *("--socket", str(folder / "signer.sock")),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: (folder / "signer.sock").exists(), SECONDS)
        yield process
    finally:
        process.kill()
        process.wait()


def is_silent(cluster: Cluster, account: str) -> bool:
    """Return whether the first node hears nothing of a validator."""
    asked = {"jsonrpc": "2.0", "id": 1, "method": "openledger_consensus", "params": []}
    request = urllib.request.Request(
        cluster.url(0).replace("ws://", "http://"),
        json.dumps(asked).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        validators = json.loads(answer.read())["result"]["validators"]
    return bool(
        next(validator["isSilent"] for validator in validators if validator["account"] == account)
    )


def test_votes_stop_without_the_signer_and_go_on_with_it(cluster: Cluster, tmp_path: Path) -> None:
    """The node itself goes on following all the time."""
    account = cluster.state.node(LAST).account
    cluster.stop(LAST)
    base_path = node_folder(cluster.folder, LAST)
    (base_path / "endpoint.json").unlink(missing_ok=True)
    (history,) = (chain_folder(cluster, LAST) / "consensus").glob("*.mark")
    moved = tmp_path / "signer" / chain_folder(cluster, LAST).name / history.name
    moved.parent.mkdir(parents=True)
    history.rename(moved)
    words = (
        *("--validator", "--signer", str(tmp_path / "signer.sock"), "--account", account),
        *("--no-doppelganger", "--bootnode", cluster.member(0).ready_endpoint().p2p[0]),
    )
    assert until(lambda: is_silent(cluster, account), SECONDS)
    with (tmp_path / "log").open("wb") as log:
        with remote_signer(cluster, tmp_path):
            node = subprocess.Popen(words_of(cluster, base_path, *words), stderr=log)
            try:
                assert until(lambda: not is_silent(cluster, account), SECONDS)
            except BaseException:
                node.kill()
                raise
        try:
            assert until(lambda: is_silent(cluster, account), SECONDS)
            assert node.poll() is None
            said = (tmp_path / "log").read_text()
            assert "vote-refused" in said
            assert "does not answer" in said
            cluster.wait_final(cluster.finalized(0) + 3, (0, 1, 2), seconds=SECONDS)
            with remote_signer(cluster, tmp_path):
                assert until(lambda: not is_silent(cluster, account), SECONDS)
                assert node.poll() is None
        finally:
            node.terminate()
            node.wait(timeout=SECONDS)
    moved.rename(history)  # the key comes back to the node, with all that it has signed
    cluster.start(LAST)
    assert_goes_on(cluster)
