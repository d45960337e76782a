"""`openledger signer` as an operator runs it: a process that signs for one node, and stops."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
import trio

from genesis.spec import load_spec
from node.keys.keystore import LIGHT_COST, Keystore
from node.keys.remote_signer import RemoteSigner
from node.keys.vote_signer import (
    ConflictingBallotError,
    SignerError,
    SignerUnreachableError,
    SigningHistory,
)
from runtime.crypto.keys import KeyKind, Keypair, verify
from runtime.shared.finality import Ballot, Kind, payload
from runtime.types.primitives import Hash
from tests.node.commands.support.calling import OpenLedger
from tests.node.commands.support.processes import running

GENESIS: Final = load_spec("dev").build().hash
ALICE: Final = Keypair.from_uri("//Alice")
ONE: Final = Ballot(0, 5, Kind.NOTARIZE, Hash(b"1" * 32))
OTHER: Final = Ballot(0, 5, Kind.NOTARIZE, Hash(b"2" * 32))
NEXT: Final = Ballot(0, 6, Kind.NOTARIZE, Hash(b"3" * 32))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: that of a socket has about a hundred bytes."""
    with tempfile.TemporaryDirectory(prefix="ol-") as name:
        yield Path(name)


@pytest.fixture
def offline(folder: Path) -> OpenLedger:
    return OpenLedger("ws://127.0.0.1:1", folder / "unused")


def words(folder: Path, *more: str, key: str = "//Alice") -> tuple[str, ...]:
    base = ("signer", "--base-path", str(folder), "--chain", "dev", "--session-key", key)
    return (*base, *more)


def ask(path: str, question: Callable[[RemoteSigner], Awaitable[None]]) -> None:
    """Connect as the node does and ask."""

    async def scenario() -> None:
        remote = RemoteSigner(Path(path), GENESIS)
        try:
            with trio.fail_after(30):
                await remote.connect()
                await question(remote)
        finally:
            remote.close()

    trio.run(scenario)


def test_a_signer_signs_for_its_node_refuses_conflicts_and_stops_at_once(folder: Path) -> None:
    async def sign(remote: RemoteSigner) -> None:
        assert remote.public == ALICE.account
        signature = await remote.sign(ONE)
        assert verify(KeyKind.ED25519, signature, payload(GENESIS, ONE), ALICE.account)
        with pytest.raises(ConflictingBallotError, match="conflicting"):
            await remote.sign(OTHER)

    with running(*words(folder)) as process:
        document = process.document
        assert document["session_key"] == "0x" + ALICE.account.hex()
        assert document["genesis_hash"] == "0x" + GENESIS.hex()
        assert Path(document["socket"]).stat().st_mode & 0o777 == 0o600
        ask(document["socket"], sign)
        assert process.stop() == 0
        _, errors = process.child.communicate()
        assert "Stopped." in errors
        assert "Traceback" not in errors
        assert not Path(document["socket"]).exists()


def test_a_signer_stops_at_once_while_a_node_is_connected(folder: Path) -> None:
    node = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with running(*words(folder)) as process, node:
        node.connect(process.document["socket"])
        assert process.stop(signal.SIGINT) == 0


def test_what_was_signed_is_remembered_after_kill_9(folder: Path) -> None:
    async def first(remote: RemoteSigner) -> None:
        await remote.sign(ONE)

    async def second(remote: RemoteSigner) -> None:
        assert not remote.is_foreign(ONE)
        with pytest.raises(ConflictingBallotError):
            await remote.sign(OTHER)
        assert await remote.sign(NEXT)

    with running(*words(folder)) as process:
        ask(process.document["socket"], first)
        assert process.stop(signal.SIGKILL) == -signal.SIGKILL
    with running(*words(folder)) as process:
        ask(process.document["socket"], second)
        assert process.stop() == 0


def test_a_second_signer_with_the_same_mark_is_refused(folder: Path, offline: OpenLedger) -> None:
    with running(*words(folder)) as process:
        called = offline(*words(folder, "--socket", str(folder / "other.sock")))
        assert called.exit_code == 2
        assert "A session key has one signer" in called.err
        assert Path(process.document["socket"]).exists(), "the first one goes on"
        assert process.stop() == 0


def test_a_second_signer_of_another_key_does_not_take_the_socket(
    folder: Path, offline: OpenLedger
) -> None:
    async def sign(remote: RemoteSigner) -> None:
        assert remote.public == ALICE.account

    with running(*words(folder)) as process:
        called = offline(*words(folder, key="//Bob"))
        assert called.exit_code == 2
        assert "Another signer" in called.err
        ask(process.document["socket"], sign)
        assert process.stop() == 0


def test_the_socket_of_a_killed_signer_does_not_stand_in_the_way(folder: Path) -> None:
    with running(*words(folder)) as process:
        process.stop(signal.SIGKILL)
        assert Path(process.document["socket"]).exists()
    with running(*words(folder)) as process:
        assert process.stop() == 0


def test_a_key_of_the_keystore_signs(folder: Path) -> None:
    pair, _ = Keypair.generate(KeyKind.ED25519)
    Keystore(folder / "keys").add(pair, "correct horse", "session", LIGHT_COST)
    password = folder / "password"
    password.write_text("correct horse\n")

    async def sign(remote: RemoteSigner) -> None:
        assert remote.public == pair.account
        assert await remote.sign(ONE)

    with running(*words(folder, "--password-file", str(password), key="session")) as process:
        ask(process.document["socket"], sign)
        assert process.stop() == 0


def test_a_node_of_another_chain_is_refused(folder: Path) -> None:
    async def connect() -> None:
        await RemoteSigner(folder / "signer.sock", Hash(b"x" * 32)).connect()

    with running(*words(folder)) as process:
        with pytest.raises(SignerError, match="another chain"):
            trio.run(connect)
        assert process.stop() == 0


def test_a_node_without_its_signer_is_told_how_to_start_it(folder: Path) -> None:
    with pytest.raises(SignerUnreachableError, match="openledger signer"):
        trio.run(RemoteSigner(folder / "nothing", GENESIS).connect)


@pytest.mark.parametrize(
    ("key", "more", "exit_code", "sentence"),
    [
        ("nobody", ("--password-file", "/dev/null"), 2, "There is no key 'nobody'"),
        ("nobody", (), 2, "There is no key 'nobody'"),
        ("//Alice", ("--socket", "/nowhere/s"), 2, "No such file"),
        ("//Alice", ("--socket", "/tmp/" + "s" * 200), 2, "too long"),
        ("//Alice", ("--chain", "/nowhere.json"), 2, "cannot be read"),
    ],
)
def test_a_mistake_ends_with_a_sentence(
    folder: Path,
    offline: OpenLedger,
    key: str,
    more: tuple[str, ...],
    exit_code: int,
    sentence: str,
) -> None:
    called = offline(*words(folder, *more, key=key))
    assert called.exit_code == exit_code, called.err
    assert sentence in called.err


def test_a_key_that_voted_from_its_node_brings_its_mark(folder: Path, offline: OpenLedger) -> None:
    former = folder / "chains" / "dev" / "consensus" / f"{ALICE.account.hex()[:16]}.mark"
    history = SigningHistory(former)
    history.record_ballot(ONE)
    history.close()
    called = offline(*words(folder))
    assert called.exit_code == 2
    command = called.err.strip().partition("signed twice: ")[2]
    subprocess.run(command, shell=True, check=True)

    async def ask_both(remote: RemoteSigner) -> None:
        with pytest.raises(ConflictingBallotError):
            await remote.sign(OTHER)
        assert await remote.sign(NEXT)

    with running(*words(folder)) as process:
        ask(process.document["socket"], ask_both)
        assert process.stop() == 0


def test_a_file_that_is_no_socket_is_not_removed(folder: Path, offline: OpenLedger) -> None:
    precious = folder / "precious"
    precious.write_text("keep me")
    called = offline(*words(folder, "--socket", str(precious)))
    assert called.exit_code == 2
    assert "is no socket" in called.err
    assert precious.read_text() == "keep me"


def test_a_word_that_is_no_log_level_is_refused(folder: Path, offline: OpenLedger) -> None:
    called = offline(*words(folder, "--log-level", "loud"))
    assert called.exit_code == 2, called.err
    assert "'loud' is no log level" in called.err
