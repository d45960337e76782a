"""Frames on a byte stream: u32 length in little endian, then so many bytes.

Independent of libp2p: a stream reads, writes and resets. An announced length allocates nothing:
bytes are buffered as they come, and a length beyond the maximum ends the reading.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, Protocol

from p2p.transport.transport import FrameTooLargeError, TransportError

READ_BYTES: Final = 256 << 10
_LENGTH: Final = struct.Struct("<I")


class StreamEndedError(TransportError):
    """The other end stopped sending."""


class ByteStream(Protocol):
    """The operations on a stream that this file needs."""

    async def read(self, n: int, /) -> bytes:
        """Read at least one byte and at most n; no bytes, or an exception, at the end."""
        ...

    async def write(self, data: bytes, /) -> None: ...
    async def reset(self) -> None: ...


def join_frames(frames: Sequence[bytes]) -> bytes:
    """Write frames as one run of bytes, for one write."""
    return b"".join(part for frame in frames for part in (_LENGTH.pack(len(frame)), frame))


class FrameReader:
    """Reads frames from a stream, in large reads."""

    def __init__(self, stream: ByteStream, max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    async def next(self) -> bytes:
        """Wait for a frame. Raises StreamEndedError, FrameTooLargeError, what the stream raises."""
        await self._fill(_LENGTH.size)
        (size,) = _LENGTH.unpack_from(self._buffer)
        if size > self._max_bytes:
            raise FrameTooLargeError(
                f"The peer announces a frame of {size} bytes; {self._max_bytes} are accepted here. "
                "It runs other software or attacks."
            )
        end = _LENGTH.size + size
        await self._fill(end)
        frame = bytes(memoryview(self._buffer)[_LENGTH.size : end])
        del self._buffer[:end]
        return frame

    async def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            received = await self._stream.read(READ_BYTES)
            if not received:
                raise StreamEndedError("The peer ended its stream. Open a new one to go on.")
            self._buffer += received
