"""A node is copied or moved as one file, and no two copies of it vote."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

from node.client import Client
from node.operations.data_folder import chain_folder, no_vote_path
from node.storage.folder_archive import CHUNK_BYTES, MANIFEST
from node.storage.folder_swap import former_folder
from tests.node.commands.support.calling import OpenLedger
from tests.node.commands.support.processes import finished, running

QUIET = ("--no-executor", "--no-serve", "--port", "0", "--p2p-port", "0", "--no-doppelganger")
NETWORK = ("node", "start", "--chain", "dev", "--sealing", "consensus", *QUIET)
VOTING = ("--validator", "--session-key", "//Alice", "--block-time-ms", "100")


def run_until_final(base: Path, blocks: int) -> None:
    """Run //Alice's validator, which is the whole network, until so many more blocks are final."""
    with running(*NETWORK, *VOTING, "--base-path", str(base)) as process:
        with Client(process.document["url"]) as client, client.new_blocks() as heads:
            for _ in range(blocks):
                heads.next(None)
        assert process.stop() == 0


@pytest.fixture
def offline(tmp_path: Path) -> OpenLedger:
    return OpenLedger("ws://127.0.0.1:1", tmp_path / "keys")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The folder of a validator that has voted."""
    run_until_final(tmp_path / "base", 2)
    return tmp_path / "base"


def refusal(base: Path) -> str:
    """Return what a validator in this folder is told, which may not vote."""
    done = finished(*NETWORK, *VOTING, "--base-path", str(base))
    assert done.returncode == 2, done.stderr
    return done.stderr


def taken(offline: OpenLedger, base: Path, file: Path, *words: str) -> Any:
    return offline.json("chain", "snapshot", str(file), "--base-path", str(base), *words)


def test_a_copy_follows_and_refuses_to_vote_while_the_original_goes_on(
    offline: OpenLedger, base: Path, tmp_path: Path
) -> None:
    document = taken(offline, base, tmp_path / "snapshot")
    assert not document["is_safe_to_vote"]
    assert document["signing_histories"]
    restored = offline.json(
        "chain", "restore", str(tmp_path / "snapshot"), "--base-path", str(tmp_path / "copy")
    )
    assert (restored["block_number"], restored["block_hash"]) == (
        document["block_number"],
        document["block_hash"],
    )
    assert not restored["is_safe_to_vote"]
    assert "NOT safe" in restored["sentence"]
    assert "may not vote" in refusal(tmp_path / "copy")
    checked = offline.json("chain", "check", "--base-path", str(tmp_path / "copy"))
    assert checked["last_hash"] == document["block_hash"]
    with running(*NETWORK, "--base-path", str(tmp_path / "copy")) as process:
        assert process.document["best_number"] >= document["block_number"]
    run_until_final(base, 1)


def test_a_moved_node_votes_at_its_new_place_only(
    offline: OpenLedger, base: Path, tmp_path: Path
) -> None:
    assert taken(offline, base, tmp_path / "snapshot", "--move")["is_safe_to_vote"]
    assert "was moved to another place" in refusal(base)
    called = offline("chain", "snapshot", str(tmp_path / "x"), "--move", "--base-path", str(base))
    assert (called.exit_code, "may not vote itself" in called.err) == (2, True)
    new = tmp_path / "new"
    words = ("chain", "restore", str(tmp_path / "snapshot"), "--base-path", str(new))
    assert offline.json(*words)["is_safe_to_vote"]
    run_until_final(new, 1)

    taken(offline, new, tmp_path / "back", "--move")
    back = ("chain", "restore", str(tmp_path / "back"), "--base-path", str(base), "--yes")
    assert offline(*back).exit_code == 2, "what is there is replaced only where it is asked for"
    assert offline.json(*back, "--replace")["is_safe_to_vote"]
    run_until_final(base, 1)


def test_a_move_never_gives_the_right_to_vote_back_to_its_own_original(
    offline: OpenLedger, base: Path, tmp_path: Path
) -> None:
    taken(offline, base, tmp_path / "plain")
    taken(offline, base, tmp_path / "moved", "--move")
    for name in ("moved", "plain"):
        words = ("chain", "restore", str(tmp_path / name), "--base-path", str(base))
        document = offline.json(*words, "--replace", "--yes")
        assert not document["is_safe_to_vote"]
        assert "as before: its node was moved to another place" in document["sentence"]
    assert "was moved to another place" in refusal(base)


def test_a_snapshot_is_for_its_owner_alone_and_says_what_secret_it_holds(
    offline: OpenLedger, honest: Path
) -> None:
    assert stat.S_IMODE(honest.stat().st_mode) == 0o600
    text = " ".join(offline("chain", "snapshot", "--help").out.split())
    assert "secret of the node's peer identity, so keep it like a key" in text


def test_a_snapshot_is_written_where_there_are_no_hard_links(
    offline: OpenLedger, honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(source), None, target)

    monkeypatch.setattr(os, "link", refuse)
    offline.json("chain", "restore", str(honest), "--base-path", str(tmp_path / "base"))
    taken(offline, tmp_path / "base", tmp_path / "file")
    offline.json("chain", "restore", str(tmp_path / "file"), "--base-path", str(tmp_path / "other"))


def test_a_damaged_database_is_replaced(offline: OpenLedger, honest: Path, tmp_path: Path) -> None:
    words = ("chain", "restore", str(honest), "--base-path", str(tmp_path / "base"))
    offline.json(*words)
    for file in (chain_folder(tmp_path / "base", "dev") / "db").iterdir():
        file.write_bytes(b"damaged")
    offline.json(*words, "--replace", "--yes")
    offline.json("chain", "check", "--base-path", str(tmp_path / "base"))


def test_a_node_whose_restore_was_killed_starts_with_what_it_had(base: Path) -> None:
    folder = chain_folder(base, "dev")
    (mark,) = folder.glob("consensus/*.mark")
    signed = mark.read_bytes()
    folder.rename(former_folder(folder))
    run_until_final(base, 1)
    assert mark.read_bytes().startswith(signed)
    assert not former_folder(folder).exists()


def test_an_old_copy_in_its_own_folder_keeps_the_newer_signing_history(
    offline: OpenLedger, base: Path, tmp_path: Path
) -> None:
    taken(offline, base, tmp_path / "snapshot")
    run_until_final(base, 2)
    (mark,) = chain_folder(base, "dev").glob("consensus/*.mark")
    newer = mark.read_bytes()
    words = ("chain", "restore", str(tmp_path / "snapshot"), "--base-path", str(base))
    called = offline(*words, "--replace", "--yes", "--json")
    assert called.exit_code == 0, called.err
    assert called.document["is_safe_to_vote"]
    assert "Kept the signing histories" in called.err
    assert mark.read_bytes() == newer
    assert not no_vote_path(chain_folder(base, "dev")).exists()


def test_a_running_node_is_not_copied(offline: OpenLedger, tmp_path: Path) -> None:
    base, file = tmp_path / "base", tmp_path / "snapshot"
    with running("dev", "--base-path", str(base), "--port", "0", "--no-executor", "--no-serve"):
        called = offline("chain", "snapshot", str(file), "--base-path", str(base))
    assert called.exit_code == 2
    assert "Errno" not in called.err
    assert not file.exists()
    document = taken(offline, base, file)
    assert document["is_safe_to_vote"], "a node that never voted has nothing to contradict"


def test_a_cut_or_changed_file_is_refused_and_leaves_nothing(
    offline: OpenLedger, tmp_path: Path
) -> None:
    base, file = tmp_path / "base", tmp_path / "snapshot"
    with running(
        "dev", "--base-path", str(base), "--port", "0", "--no-executor", "--no-serve"
    ) as process:
        assert process.stop() == 0
    taken(offline, base, file)
    data = file.read_bytes()
    changed = bytearray(data)
    changed[data.index(b"leveldb.BytewiseComparator")] ^= 1
    wrong = {"cut": data[: len(data) // 2], "changed": bytes(changed), "other": b"x" * CHUNK_BYTES}
    for name, content in wrong.items():
        (tmp_path / name).write_bytes(content)
        called = offline(
            "chain", "restore", str(tmp_path / name), "--base-path", str(tmp_path / "copy")
        )
        assert called.exit_code == 2, name
        assert "no whole snapshot" in called.err
    assert list((tmp_path / "copy").rglob("*.*")) == []


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of a node that never voted."""
    folder = tmp_path_factory.mktemp("honest")
    base, file = folder / "base", folder / "snapshot"
    with running(
        "dev", "--base-path", str(base), "--port", "0", "--no-executor", "--no-serve"
    ) as process:
        assert process.stop() == 0
    taken(OpenLedger("ws://127.0.0.1:1", folder / "keys"), base, file)
    return file


def forged(honest: Path, file: Path, *planted: str, **said: Any) -> Path:
    """Write a snapshot with more files, and a manifest that says something else."""
    with tarfile.open(honest) as source, tarfile.open(file, "w") as target:
        for member in source:
            content = source.extractfile(member)
            assert content is not None
            data = content.read()
            if member.name == MANIFEST:
                document = {**json.loads(data), **said}
                for name in planted:
                    target.addfile(_entry(name, b"planted"), io.BytesIO(b"planted"))
                    document["files"][name] = hashlib.sha256(b"planted").hexdigest()
                data = json.dumps(document).encode()
            target.addfile(_entry(member.name, data), io.BytesIO(data))
    return file


def _entry(name: str, data: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    return entry


@pytest.mark.parametrize("chain", ["../../victim", "../keys", "/tmp/victim", "other"])
def test_a_snapshot_does_not_choose_the_folder_that_it_is_restored_to(
    offline: OpenLedger, honest: Path, tmp_path: Path, chain: str
) -> None:
    victims = (tmp_path / "victim", tmp_path / "base/keys")
    for victim in victims:
        victim.mkdir(parents=True)
        (victim / "precious").touch()
    file = forged(honest, tmp_path / "file", chain=chain)
    words = ("--base-path", str(tmp_path / "base"), "--replace", "--yes")
    document = offline.json("chain", "restore", str(file), *words)
    assert document["folder"] == str(chain_folder(tmp_path / "base", "dev"))
    assert all((victim / "precious").exists() for victim in victims)


def test_a_snapshot_of_another_chain_is_refused(
    offline: OpenLedger, honest: Path, tmp_path: Path
) -> None:
    file = forged(honest, tmp_path / "file", genesis_hash="0x" + "00" * 32)
    base = tmp_path / "base"
    for words in ((str(file),), (str(honest), "--chain", "local")):
        called = offline("chain", "restore", *words, "--base-path", str(base))
        assert (called.exit_code, "--chain" in called.err) == (2, True)
        assert [path for path in base.rglob("*") if path.is_file()] == []


def test_a_copy_brings_no_identity_among_peers_and_no_word_about_voting(
    offline: OpenLedger, honest: Path, tmp_path: Path
) -> None:
    planted = ("peer.seed", "consensus/no-vote")
    file = forged(honest, tmp_path / "file", *planted)
    base = tmp_path / "base"
    offline.json("chain", "restore", str(file), "--base-path", str(base))
    folder = chain_folder(base, "dev")
    assert (folder / "db").is_dir()
    assert [name for name in planted if (folder / name).exists()] == []
