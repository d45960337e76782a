"""The outbox: the frames that wait to be written to one peer on one channel.

Bounded: a full outbox means that its peer does not read, and the peer is disconnected rather than
served with gaps. All waiting frames go out in one write, because twenty writes cost twenty times
as much as one write of twenty frames.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

FRAMES_MAX: Final = 8192
BYTES_MAX: Final = 16 << 20
WRITE_SIZE: Final = 1 << 20
"""A write has no further frame once it has this many bytes."""


class Outbox:
    """Frames in order, each with the earliest time of its write (delayed devnets)."""

    def __init__(self) -> None:
        self._frames: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._filled = trio.Event()

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: bytes, due: float) -> bool:
        """Queue a frame; False if the outbox is full."""
        if len(self._frames) >= FRAMES_MAX or self._bytes + len(frame) > BYTES_MAX:
            return False
        self._frames.append((due, frame))
        self._bytes += len(frame)
        self._filled.set()
        return True

    async def take(self) -> list[bytes]:
        """Wait for frames and return those that are due, up to one write."""
        if not self._frames:
            self._filled = trio.Event()
            await self._filled.wait()
        await trio.sleep_until(self._frames[0][0])
        now = trio.current_time()
        frames: list[bytes] = []
        size = 0
        while self._frames and self._frames[0][0] <= now and size < WRITE_SIZE:
            frame = self._frames.popleft()[1]
            frames.append(frame)
            size += len(frame)
        self._bytes -= size
        return frames
