"""A damaged consensus log stops the node, is repaired by command, and the node starts again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import pytest

from consensus.write_ahead_log import read_log, write_log
from genesis.spec import load_spec
from node.client import Client
from node.keys.vote_signer import SigningHistory
from node.storage.database import Database
from runtime.shared.finality import Ballot, Kind
from runtime.types.primitives import Hash
from tests.node.commands.support.calling import OpenLedger
from tests.node.commands.support.processes import Process, finished, running

BLOCK_SECONDS: Final = 30
RECORDS: Final = [b"one", b"two" * 50, b"three"]


def start_words(base_path: Path) -> tuple[str, ...]:
    settings = ("--sealing", "consensus", "--validator", "--block-time-ms", "100")
    ports = ("--port", "0", "--p2p-port", "0")
    quick = ("--no-doppelganger", "--no-executor", "--no-serve")
    return ("node", "start", "--chain", "dev", "--base-path", str(base_path)) + (
        settings + ports + quick
    )


def follow_to(process: Process, height: int) -> None:
    """Wait until a block of this height is final."""
    with Client(process.document["url"]) as client, client.new_blocks() as blocks:
        while client.header(client.finalized_hash()).number < height:
            blocks.next(time.monotonic() + BLOCK_SECONDS)


@pytest.fixture
def offline(tmp_path: Path) -> OpenLedger:
    return OpenLedger("ws://127.0.0.1:1", tmp_path / "keys")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The chain folder of a node that has stopped, with an intact log and no vote signed."""
    chain = tmp_path / "chains" / load_spec("dev").id
    (chain / "consensus").mkdir(parents=True)
    Database.open(chain / "db").close()
    (chain / "consensus" / "log").write_bytes(write_log(RECORDS))
    return chain


def damage(log: Path, offset: int) -> bytes:
    data = bytearray(log.read_bytes())
    data[offset] ^= 1
    log.write_bytes(data)
    return bytes(data)


def test_a_node_refuses_a_damaged_log_names_the_repair_and_starts_after_it(
    offline: OpenLedger, tmp_path: Path
) -> None:
    words = ("chain", "repair-log", "--base-path", str(tmp_path))
    with running(*start_words(tmp_path)) as process:
        follow_to(process, 3)
        called = offline(*words)
        assert called.exit_code == 2, "the node runs"
        assert "in use" in called.err
        assert process.stop() == 0
    log = tmp_path / "chains" / "dev" / "consensus" / "log"
    intact = log.read_bytes()
    first = len(write_log(read_log(intact)[0][:1]))
    damaged = damage(log, first + 20)

    refused = finished(*start_words(tmp_path))
    assert refused.returncode == 8
    assert f"`openledger chain repair-log --base-path {tmp_path} --chain dev`" in refused.stderr
    assert log.read_bytes() == damaged

    document = offline.json(*words)
    assert document["was_damaged"]
    assert document["kept_bytes"] == first
    assert document["lost_bytes"] == len(damaged) - first
    assert Path(document["saved_as"]).read_bytes() == damaged
    assert log.read_bytes() == intact[:first]
    (history,) = document["marks"]
    assert history["newest_view"] >= 3
    with running(*start_words(tmp_path)) as process:
        height = process.document["best_number"]
        follow_to(process, height + 2)
        assert process.stop() == 0


def test_an_intact_or_torn_log_is_left_as_it_is(offline: OpenLedger, folder: Path) -> None:
    log = folder / "consensus" / "log"
    words = ("chain", "repair-log", "--base-path", str(folder.parent.parent))
    for data in (log.read_bytes(), log.read_bytes()[:-2]):
        log.write_bytes(data)
        called = offline(*words, "--json")
        assert called.exit_code == 0
        assert "not damaged" in called.err
        assert not called.document["was_damaged"]
        assert called.document["saved_as"] is None
        assert log.read_bytes() == data
    assert [path.name for path in log.parent.iterdir()] == ["log"]


def test_what_signing_histories_still_protect_is_told(offline: OpenLedger, folder: Path) -> None:
    damage(folder / "consensus" / "log", 20)
    base = folder.parent.parent
    histories = (folder / "consensus" / "a.mark", base / "signer" / "dev" / "b.mark")
    for view, path in enumerate(histories, start=7):
        history = SigningHistory(path)
        history.record_ballot(Ballot(2, view, Kind.NOTARIZE, Hash(b"1" * 32)))
        history.record_ballot(Ballot(2, view + 1, Kind.NOTARIZE, Hash(b"2" * 32)))
        history.close()
    damage(histories[1], 3)
    before = [path.read_bytes() for path in histories]
    called = offline("chain", "repair-log", "--base-path", str(base), "--json")
    assert called.exit_code == 0
    assert "remembers 2 votes up to epoch 2, view 8" in called.err
    assert "Do not vote with this key again" in called.err
    assert [history["is_damaged"] for history in called.document["marks"]] == [False, True]
    assert [path.read_bytes() for path in histories] == before


def test_repeated_repairs_keep_every_damaged_log(offline: OpenLedger, folder: Path) -> None:
    log = folder / "consensus" / "log"
    words = ("chain", "repair-log", "--base-path", str(folder.parent.parent))
    damaged = []
    for _ in range(2):
        log.write_bytes(write_log(RECORDS))
        damaged.append(damage(log, 20))
        saved = Path(offline.json(*words)["saved_as"])
        assert saved.read_bytes() == damaged[-1]
        assert saved.stat().st_mode & 0o777 == 0o600
    assert len(list(log.parent.glob("log.damaged-*"))) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--base-path", "/nowhere"), "There is no consensus log"),
        (("--chain", "/nowhere.json"), "cannot be read"),
    ],
)
def test_a_mistake_ends_with_a_sentence(
    offline: OpenLedger, words: tuple[str, ...], sentence: str
) -> None:
    called = offline("chain", "repair-log", *words)
    assert called.exit_code == 2
    assert sentence in called.err


def test_a_folder_without_a_database_is_no_nodes(offline: OpenLedger, tmp_path: Path) -> None:
    log = tmp_path / "chains" / "dev" / "consensus" / "log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"")
    called = offline("chain", "repair-log", "--base-path", str(tmp_path))
    assert called.exit_code == 2
    assert "no database" in called.err
    assert not (log.parent.parent / "db").exists()
