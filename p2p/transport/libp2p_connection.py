"""One connected peer of the libp2p transport: its links, its streams, its requests in flight."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio
from libp2p.network.connection.swarm_connection import SwarmConn

from p2p.transport.libp2p_setup import is_alive
from p2p.transport.streams import FrameReader
from p2p.transport.transport import REQUESTS_IN_FLIGHT_MAX, Channel, PeerId

if TYPE_CHECKING:
    from libp2p.abc import INetStream


@dataclass(slots=True)
class Connection:
    """A connected peer. A link is a connection of the library; two may carry one Connection."""

    peer: PeerId
    since: float
    """When its first link came, on trio's clock."""
    links: list[SwarmConn] = field(default_factory=list)
    gone: trio.Event = field(default_factory=trio.Event)
    sending: dict[Channel, INetStream] = field(default_factory=dict)
    locks: dict[Channel, trio.Lock] = field(
        default_factory=lambda: {channel: trio.Lock() for channel in Channel}
    )
    receiving: dict[Channel, trio.CancelScope] = field(default_factory=dict)
    idle: list[tuple[INetStream, FrameReader]] = field(default_factory=list)
    """Streams of requests that wait for the next one."""
    slots: trio.Semaphore = field(default_factory=lambda: trio.Semaphore(REQUESTS_IN_FLIGHT_MAX))
    answering: int = 0

    @property
    def is_connected(self) -> bool:
        """Return whether a link is alive, known before the end of the last link is noted."""
        return any(is_alive(link) for link in self.links)
