"""The part of the network service that a node's downloads need: its peers, requests and penalties.

`Service` fits these interfaces. They stand here, and not beside one of their users, because
bodies and blobs need the same methods (`PeerRequests`), and blocks and states the same further
ones (`PeerNetwork`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import trio

from p2p.protocols.reputation import Fault
from p2p.transport.transport import PeerId
from p2p.transport.wire import RequestKind


class ConnectedPeer(Protocol):
    """A connected peer: its id."""

    @property
    def peer(self) -> PeerId: ...


class PeerHeights(ConnectedPeer, Protocol):
    """A connected peer, with the heights of its best and its last final block."""

    @property
    def best(self) -> int: ...
    @property
    def finalized(self) -> int: ...


class PeerRequests(Protocol):
    """Requests to peers. The service limits their time and scores what is not answered."""

    def peers(self) -> Sequence[ConnectedPeer]: ...
    async def request(self, peer: PeerId, kind: RequestKind, body: bytes) -> bytes: ...
    def penalize(self, peer: PeerId, fault: Fault, reason: str) -> None: ...


class PeerNetwork(PeerRequests, Protocol):
    """Requests to peers whose heights are known, and a signal when a peer comes, goes or changes.

    The items of `changes` are not read: who wakes up asks `peers` again.
    """

    def peers(self) -> Sequence[PeerHeights]: ...
    def changes(self) -> AbstractAsyncContextManager[trio.abc.ReceiveChannel[object]]: ...
