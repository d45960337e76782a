"""Frames are read as they were written, however the bytes arrive."""

from __future__ import annotations

from typing import Final

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from p2p.transport.streams import FrameReader, StreamEndedError, join_frames
from p2p.transport.transport import FrameTooLargeError

BYTES_MAX: Final = 1000


class Trickle:
    """A stream that gives its bytes in parts."""

    def __init__(self, content: bytes, part_bytes: int) -> None:
        self._content = content
        self._part_bytes = part_bytes

    async def read(self, n: int, /) -> bytes:
        await trio.lowlevel.checkpoint()
        part, self._content = self._content[: self._part_bytes], self._content[self._part_bytes :]
        return part

    async def write(self, data: bytes, /) -> None: ...
    async def reset(self) -> None: ...


@given(frames=st.lists(st.binary(max_size=BYTES_MAX), max_size=8), part_bytes=st.integers(1, 2000))
def test_frames_are_read_as_written(frames: list[bytes], part_bytes: int) -> None:
    async def scenario() -> None:
        reader = FrameReader(Trickle(join_frames(frames), part_bytes), BYTES_MAX)
        assert [await reader.next() for _ in frames] == frames
        with pytest.raises(StreamEndedError):
            await reader.next()

    trio.run(scenario)


@pytest.mark.parametrize("part_bytes", [1, 2 * BYTES_MAX])
def test_a_frame_has_its_maximum_and_no_more(part_bytes: int) -> None:
    async def scenario() -> None:
        largest = bytes(BYTES_MAX)
        reader = FrameReader(Trickle(join_frames([largest, largest + b"x"]), part_bytes), BYTES_MAX)
        assert await reader.next() == largest
        with pytest.raises(FrameTooLargeError):
            await reader.next()

    trio.run(scenario)


@given(size=st.integers(BYTES_MAX + 1, 2**32 - 1))
def test_a_length_beyond_the_maximum_is_refused_before_its_bytes_come(size: int) -> None:
    async def scenario() -> None:
        with pytest.raises(FrameTooLargeError):
            await FrameReader(Trickle(size.to_bytes(4, "little"), 4), BYTES_MAX).next()

    trio.run(scenario)


@given(content=st.binary(max_size=100))
def test_any_bytes_are_frames_or_an_error(content: bytes) -> None:
    async def scenario() -> None:
        reader = FrameReader(Trickle(content, 7), BYTES_MAX)
        with pytest.raises((FrameTooLargeError, StreamEndedError)):
            await read_to_the_end(reader)

    trio.run(scenario)


async def read_to_the_end(reader: FrameReader) -> None:
    while True:
        await reader.next()
