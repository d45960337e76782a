"""A key behind a socket signs like a local one, and survives bad frames and lost connections."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
import trio

from node.keys.remote_signer import RemoteSigner, serve_signer
from node.keys.vote_signer import (
    ConflictingBallotError,
    SignerError,
    SignerUnreachableError,
    SigningHistory,
)
from runtime.crypto.keys import KeyKind, Keypair, verify
from runtime.shared.finality import Ballot, Kind, payload
from runtime.types.primitives import Hash

GENESIS = Hash(b"g" * 32)
ALICE = Keypair.from_uri("//Alice")
ONE = Ballot(0, 5, Kind.NOTARIZE, Hash(b"1" * 32))
OTHER = Ballot(0, 5, Kind.NOTARIZE, Hash(b"2" * 32))

GARBAGE = Random(7).randbytes(64)


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Path]:
    history = SigningHistory(folder / "history")
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_signer, folder / "s", ALICE, GENESIS, history)
            yield folder / "s"
            nursery.cancel_scope.cancel()
    finally:
        history.close()


def run(scenario: Callable[[Path], Awaitable[None]]) -> None:
    # Socket paths are short on every system: pytest's folders are not.
    with tempfile.TemporaryDirectory(prefix="ol-") as folder:
        trio.run(scenario, Path(folder))


def test_a_remote_signature_verifies_and_conflicts_are_refused() -> None:
    async def scenario(folder: Path) -> None:
        async with served(folder) as path:
            assert path.stat().st_mode & 0o777 == 0o600
            signer = RemoteSigner(path, GENESIS)
            await signer.connect()
            assert signer.public == ALICE.account
            signature = await signer.sign(ONE)
            assert verify(KeyKind.ED25519, signature, payload(GENESIS, ONE), ALICE.account)
            with pytest.raises(ConflictingBallotError, match="conflicting"):
                await signer.sign(OTHER)
            assert await signer.sign(ONE) == signature
            assert not signer.is_foreign(ONE)
            assert signer.is_foreign(OTHER)
            signer.close()

    run(scenario)


def test_the_mark_outlives_signer_and_node() -> None:
    async def scenario(folder: Path) -> None:
        async with served(folder) as path:
            signer = RemoteSigner(path, GENESIS)
            await signer.connect()
            await signer.sign(ONE)
            signer.close()
        async with served(folder) as path:
            signer = RemoteSigner(path, GENESIS)
            await signer.connect()
            assert not signer.is_foreign(ONE)
            with pytest.raises(ConflictingBallotError):
                await signer.sign(OTHER)
            signer.close()

    run(scenario)


def test_a_signer_that_is_started_again_is_found_again() -> None:
    async def scenario(folder: Path) -> None:
        signer = RemoteSigner(folder / "s", GENESIS)
        async with served(folder):
            await signer.connect()
        with pytest.raises(SignerUnreachableError, match="openledger signer"):
            await signer.sign(ONE)
        async with served(folder):
            assert await signer.sign(ONE)
            signer.close()

    run(scenario)


def test_a_signer_of_another_chain_refuses() -> None:
    async def scenario(folder: Path) -> None:
        async with served(folder) as path:
            with pytest.raises(SignerError, match="another chain"):
                await RemoteSigner(path, Hash(b"x" * 32)).connect()

    run(scenario)


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xff" * 4,
        b"\x05\0\0\0hello",
        b"\x01\0\0\0\x90",
        b"\0\0\0\x7f",
        Random(7).randbytes(64),
    ],
)
def test_garbage_ends_the_connection_and_not_the_signer(garbage: bytes) -> None:
    async def scenario(folder: Path) -> None:
        async with served(folder) as path:
            with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                await sock.connect(str(path))
                await trio.SocketStream(sock).send_all(garbage)
            signer = RemoteSigner(path, GENESIS)
            await signer.connect()
            assert await signer.sign(ONE)
            signer.close()

    run(scenario)


def test_a_cancelled_question_is_never_answered_to_the_next_one() -> None:
    async def scenario(folder: Path) -> None:
        async with served(folder) as path:
            signer = RemoteSigner(path, GENESIS)
            await signer.connect()
            for view in range(1, 20):
                ballot = Ballot(0, view, Kind.NOTARIZE, Hash(b"1" * 32))
                with trio.move_on_after(0):
                    await signer.sign(ballot)
                after = Ballot(0, view, Kind.FINALIZE, Hash(b"1" * 32))
                signature = await signer.sign(after)
                assert verify(KeyKind.ED25519, signature, payload(GENESIS, after), ALICE.account)
            signer.close()

    run(scenario)
