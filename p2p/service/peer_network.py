"""The part of the network service that a node's downloads need: its peers, requests and penalties.

`Service` fits these interfaces. They stand here, and not beside one of their users, because the
downloads of bodies, blocks, state and blobs need the same methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import trio

from p2p.protocols.reputation import Fault
from p2p.transport.transport import PeerId
from p2p.transport.wire import RequestKind


class PeerView(Protocol):
    """A connected peer: its id, and the heights of its best and its last final block."""

    @property
    def peer(self) -> PeerId: ...
    @property
    def best(self) -> int: ...
    @property
    def finalized(self) -> int: ...


class PeerRequests(Protocol):
    """Requests to peers. The service limits their time and scores what is not answered."""

    def peers(self) -> Sequence[PeerView]: ...
    async def request(self, peer: PeerId, kind: RequestKind, body: bytes) -> bytes: ...
    def penalize(self, peer: PeerId, fault: Fault, reason: str) -> None: ...


class PeerNetwork(PeerRequests, Protocol):
    """Requests to peers, and news of peers that come, go and change."""

    def changes(self) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[Any]]: ...
