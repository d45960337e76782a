"""The remote signer: a session key in a process of its own, behind a Unix socket.

The node that validates then holds no key: who breaks into it can stop its votes, and never make it
vote twice, because the signing history lives with the key. One node at a time is served.

Frames are `u32 length ++ msgpack`, little-endian. A request is [VERSION, verb, bytes], an answer
[VERSION, "ok" or "refused", bytes]:

    hello   the genesis hash      ->  the public key and the ballots that are remembered (SCALE)
    sign    a ballot (SCALE)      ->  the signature, or the sentence why not
"""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from struct import Struct
from typing import Final, Protocol

import msgpack
import trio

from node.keys.vote_signer import (
    ConflictingBallotError,
    RecentBallots,
    SignerError,
    SignerUnreachableError,
    SigningHistory,
)
from runtime.codec.compact import DecodeError
from runtime.codec.scale import Bytes32, codec, scale
from runtime.crypto.keys import Keypair
from runtime.shared.finality import Ballot, payload
from runtime.types.primitives import Hash

VERSION: Final = 1
FRAME_BYTES_MAX: Final = 256 * 1024
ANSWER_SECONDS: Final = 2.0
"""A signer that hangs holds up consensus so long, twice a vote; a view lasts three seconds."""
RETRY_SECONDS: Final = 0.2
OK: Final = "ok"
REFUSED: Final = "refused"

_LENGTH: Final = Struct("<I")
_ballot = codec(Ballot)
logger = logging.getLogger(__name__)


@scale
class Hello:
    """Who signs behind a socket, and what it remembers."""

    public: Bytes32
    ballots: tuple[Ballot, ...]


_hello = codec(Hello)


class FrameError(Exception):
    """The other side sent what is no frame of this protocol."""


class Started(Protocol):
    """What trio gives to a task that is started."""

    def started(self) -> None: ...


# ---------------------------------------------------------------------------------- the signer


async def serve_signer(
    path: Path,
    pair: Keypair,
    genesis: Hash,
    history: SigningHistory,
    *,
    task_status: Started = trio.TASK_STATUS_IGNORED,
) -> None:
    """Sign for one node at a time until cancelled. Raises OSError where the path is taken."""
    path.unlink(missing_ok=True)  # the history's lock says that no other signer uses it
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        former = os.umask(0o177)
        try:
            await listener.bind(str(path))
        finally:
            os.umask(former)
        listener.listen(4)
        task_status.started()
        try:
            while True:
                connection, _ = await listener.accept()
                await _serve_node(trio.SocketStream(connection), pair, genesis, history)
        finally:
            path.unlink(missing_ok=True)


async def _serve_node(
    stream: trio.SocketStream, pair: Keypair, genesis: Hash, history: SigningHistory
) -> None:
    logger.info("signer-connected")
    async with stream:
        try:
            while True:
                verb, content = await _receive(stream)
                verdict, answer = await _answer(verb, content, pair, genesis, history)
                if verdict == REFUSED:
                    logger.warning("signing-refused cause=%r", answer.decode())
                await _send(stream, verdict, answer)
        except FrameError as error:
            logger.warning("signer-disconnected cause=%r", str(error))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            logger.info("signer-disconnected cause=%r", str(error))


async def _answer(
    verb: str, content: bytes, pair: Keypair, genesis: Hash, history: SigningHistory
) -> tuple[str, bytes]:
    if verb == "hello":
        if content != genesis:
            return REFUSED, b"This signer signs for another chain."
        return OK, _hello.encode(Hello(pair.account, tuple(history.recent.ballots)))
    if verb != "sign":
        raise FrameError(f"there is no verb {verb!r}")
    try:
        ballot = _ballot.decode(content)
    except DecodeError as error:
        raise FrameError(f"no ballot: {error}") from error
    try:
        await trio.to_thread.run_sync(history.record_ballot, ballot)
    except (SignerError, OSError) as error:
        return REFUSED, str(error).encode()
    return OK, pair.sign(payload(genesis, ballot))


# ------------------------------------------------------------------------------------ the node


class RemoteSigner:
    """A signer behind a socket; connects again when the connection is lost."""

    def __init__(self, path: Path, genesis: Hash) -> None:
        self._path = path
        self._genesis = genesis
        self._stream: trio.SocketStream | None = None
        self._asking = trio.Lock()
        self._public = b""
        self._recent = RecentBallots()

    async def connect(self) -> None:
        """Learn who signs. Raises SignerUnreachableError, SignerError."""
        async with self._asking:
            await self._open()

    @property
    def public(self) -> bytes:
        """The session key, 32 bytes of ed25519."""
        assert self._public, "connect() comes first"
        return self._public

    async def sign(self, ballot: Ballot) -> bytes:
        """Return the signature, 64 bytes. Raises ConflictingBallotError, SignerUnreachableError."""
        async with self._asking:
            try:
                verdict, answer = await self._ask("sign", _ballot.encode(ballot))
            except SignerUnreachableError:
                await trio.sleep(RETRY_SECONDS)
                await self._open()
                verdict, answer = await self._ask("sign", _ballot.encode(ballot))
            if verdict != OK:
                raise ConflictingBallotError(answer.decode(errors="replace"))
            self._recent.add(ballot)
            return answer

    @property
    def has_signed(self) -> bool:
        """Whether the signing history holds any ballot."""
        return bool(self._recent.ballots)

    def is_foreign(self, ballot: Ballot) -> bool:
        """Return whether a vote of this key for the ballot can only have been signed elsewhere."""
        return self._recent.is_foreign(ballot)

    def close(self) -> None:
        """Close the connection."""
        if self._stream is not None:
            self._stream.socket.close()
            self._stream = None

    async def _open(self) -> None:
        self.close()
        sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            await sock.connect(str(self._path))
        except OSError as error:
            sock.close()
            raise SignerUnreachableError(
                f"The remote signer at {self._path} does not answer: {error}. Start it with "
                "`openledger signer`; without it this node casts no votes."
            ) from error
        self._stream = trio.SocketStream(sock)
        verdict, answer = await self._ask("hello", self._genesis)
        if verdict != OK:
            self.close()
            raise SignerError(answer.decode(errors="replace"))
        try:
            found = _hello.decode(answer)
        except DecodeError as error:
            self.close()
            raise SignerError(f"{self._path} is no signer of this version: {error}") from error
        if self._public and found.public != self._public:
            self.close()
            raise SignerError(f"The signer at {self._path} now holds another key.")
        self._public = found.public
        for ballot in found.ballots:
            if ballot not in self._recent.ballots:
                self._recent.add(ballot)

    async def _ask(self, verb: str, content: bytes) -> tuple[str, bytes]:
        if self._stream is None:
            raise SignerUnreachableError(f"There is no connection to the signer at {self._path}.")
        stream, self._stream = self._stream, None  # kept closed unless the answer came whole
        try:
            with trio.fail_after(ANSWER_SECONDS):
                await _send(stream, verb, content)
                answer = await _receive(stream)
        except (trio.TooSlowError, trio.BrokenResourceError, FrameError) as error:
            raise SignerUnreachableError(
                f"The remote signer at {self._path} was lost: {type(error).__name__} {error}"
            ) from error
        else:
            self._stream = stream
            return answer
        finally:
            if self._stream is None:
                stream.socket.close()


# -------------------------------------------------------------------------------------- frames


async def _send(stream: trio.SocketStream, word: str, content: bytes) -> None:
    packed: bytes = msgpack.packb([VERSION, word, content])
    await stream.send_all(_LENGTH.pack(len(packed)) + packed)


async def _receive(stream: trio.SocketStream) -> tuple[str, bytes]:
    (length,) = _LENGTH.unpack(await _exactly(stream, _LENGTH.size))
    if length > FRAME_BYTES_MAX:
        raise FrameError(f"a frame of {length} bytes exceeds {FRAME_BYTES_MAX}")
    try:
        fields = msgpack.unpackb(await _exactly(stream, length))
    except (ValueError, msgpack.UnpackException) as error:
        raise FrameError(f"no msgpack: {error}") from error
    match fields:
        case [int(version), str(word), bytes(content)] if version == VERSION:
            return word, content
        case _:
            raise FrameError("a frame is [version, word, bytes]")


async def _exactly(stream: trio.SocketStream, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = await stream.receive_some(count - len(data))
        if not part:
            raise FrameError("the connection ended")
        data += part
    return bytes(data)
