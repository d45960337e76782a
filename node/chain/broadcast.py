"""Bounded fan-out of events to subscribers that may lag.

A subscriber that does not keep up loses its subscription, not the publisher its time: its channel
is closed, its iteration ends, and one line is logged.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeVar

import trio

BACKLOG_MAX: Final = 1024

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Broadcast(Generic[T]):
    """Publishes values to any number of subscribers, each with a backlog of its own."""

    def __init__(self, name: str, backlog_max: int = BACKLOG_MAX) -> None:
        self._name = name
        self._backlog_max = backlog_max
        self._channels: set[trio.MemorySendChannel[T]] = set()

    def __len__(self) -> int:
        return len(self._channels)

    def publish(self, value: T) -> None:
        """Hand a value to every subscriber; one whose backlog is full is cut off."""
        for channel in list(self._channels):
            try:
                channel.send_nowait(value)
            except trio.WouldBlock:
                logger.warning("subscriber-dropped channel=%s reason=lagging", self._name)
                self._channels.discard(channel)
                channel.close()
            except trio.BrokenResourceError:
                self._channels.discard(channel)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[trio.MemoryReceiveChannel[T]]:
        """Receive what is published from now on."""
        send, receive = trio.open_memory_channel[T](self._backlog_max)
        self._channels.add(send)
        try:
            async with receive:
                yield receive
        finally:
            self._channels.discard(send)
            send.close()

    def close(self) -> None:
        """End all subscriptions."""
        for channel in list(self._channels):
            channel.close()
        self._channels.clear()
