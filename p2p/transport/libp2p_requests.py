"""Requests over libp2p: a pool of streams for each peer, one request at a time on each stream.

A request is a frame, its answer is a frame of one status byte and the content. Whatever a peer
sends ends at most its own stream.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import trio
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamError

from p2p.transport.libp2p_connection import Connection
from p2p.transport.libp2p_setup import give_up
from p2p.transport.streams import FrameReader, join_frames
from p2p.transport.transport import (
    ANSWER_BYTES_MAX,
    REQUEST_BYTES_MAX,
    REQUESTS_IN_FLIGHT_MAX,
    FrameTooLargeError,
    Handler,
    PeerId,
    RequestError,
    TransportError,
    check_size,
)

if TYPE_CHECKING:
    from libp2p.abc import INetStream

REQUEST_PROTOCOL: Final = TProtocol("/openledger/request/1")
ANSWERS_AT_ONCE_MAX: Final = 32
"""Answers being made or sent to all peers together: their memory is bounded by it."""
ANSWERED: Final = b"\x00"
REFUSED: Final = b"\x01"

OpenStream = Callable[[PeerId, TProtocol], Awaitable["INetStream"]]

_log = logging.getLogger(__name__)


class RequestStreams:
    """Asks peers and answers them. `limit_s` bounds the time of one answer."""

    def __init__(self, open_stream: OpenStream, limit_s: float) -> None:
        self._open_stream = open_stream
        self._limit_s = limit_s
        self._answers = trio.CapacityLimiter(ANSWERS_AT_ONCE_MAX)

    async def ask(self, connection: Connection, request: bytes) -> bytes:
        """Send a request and return the answer with its status byte.

        An idle stream may have been reset by the peer meanwhile, so a failure on one is followed by
        the next, and at last by a new stream. Raises what the stream raises.
        """
        while connection.idle:
            try:
                return await self._ask_on(connection, *connection.idle.pop(), request)
            except (TransportError, StreamError):
                if not connection.is_connected:
                    raise
        stream = await self._open_stream(connection.peer, REQUEST_PROTOCOL)
        reader = FrameReader(stream, ANSWER_BYTES_MAX + 1)
        return await self._ask_on(connection, stream, reader, request)

    async def _ask_on(
        self, connection: Connection, stream: INetStream, reader: FrameReader, request: bytes
    ) -> bytes:
        is_answered = False
        try:
            await stream.write(join_frames((request,)))
            answer = await reader.next()
            is_answered = True
            connection.idle.append((stream, reader))
            return answer
        finally:
            if not is_answered:
                await give_up(stream)

    async def serve(self, connection: Connection, stream: INetStream, handler: Handler) -> None:
        """Answer the requests that come on a stream, until it ends."""
        if connection.answering >= REQUESTS_IN_FLIGHT_MAX:
            await give_up(stream)
            return
        connection.answering += 1
        try:
            reader = FrameReader(stream, REQUEST_BYTES_MAX)
            while not connection.gone.is_set():
                request = await reader.next()
                with trio.fail_after(self._limit_s):
                    async with self._answers:
                        answer = await _answer(handler, connection.peer, request)
                        await stream.write(join_frames((answer,)))
        except Exception as error:  # noqa: BLE001 - see the rule of this file
            _log.debug("end-requests peer=%s reason=%r", connection.peer, error)
        finally:
            connection.answering -= 1
            await give_up(stream)


def read_answer(peer: PeerId, answer: bytes) -> bytes:
    """Return the content of an answer. Raises RequestError if the peer refused the request."""
    if answer[:1] != ANSWERED:
        reason = answer[1:].decode(errors="replace")
        raise RequestError(f"{peer} refused the request: {reason}")
    return answer[1:]


async def _answer(handler: Handler, peer: PeerId, request: bytes) -> bytes:
    try:
        answer = await handler.answer(peer, request)
        check_size("answer", answer, ANSWER_BYTES_MAX)
    except (RequestError, FrameTooLargeError) as error:
        return REFUSED + str(error).encode()
    return ANSWERED + answer
