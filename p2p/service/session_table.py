"""The session table: every connected peer, what is queued for it, and the end of its session.

It admits peers, runs the tasks of each session (writing its outboxes, watching its handshake and
its pings), publishes changes to watchers, and closes connections. What a peer's messages mean is
`peer_handler.py`; which peers are dialled is `dialer.py`.

Rules:
- Nothing is sent to a peer before its WELCOME, except this node's STATUS.
- A session that ends leaves the table at once; its connection is closed by a task of its own.
- One peer's failure ends its session and no other.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final

import trio

from p2p.protocols.address_book import AddressBook
from p2p.protocols.keepalive import Ping, Silent
from p2p.protocols.reputation import Fault, Reputation
from p2p.protocols.status import Roles
from p2p.service.peer_session import Change, PeerChange, PeerSession, PeerState
from p2p.service.settings import Counters, NetworkSettings
from p2p.transport.transport import Channel, PeerGoneError, PeerId, Transport
from p2p.transport.wire import CHANNELS, MessageKind, encode
from runtime.types.primitives import Hash

logger = logging.getLogger(__name__)

SEND_LIMIT_SECONDS: Final = 10.0
"""A peer that does not take a write for so long is disconnected."""
HANG_UP_LIMIT_SECONDS: Final = 5.0
STALL_SECONDS: Final = 1.0
"""A wake-up so much too late means that this node stood still, not its peers."""
CHANGES_MAX: Final = 1024


class SessionTable:
    """The sessions of all connected peers, by peer."""

    def __init__(self, genesis_hash: Hash, book: AddressBook, settings: NetworkSettings) -> None:
        self.counters = Counters()
        self.reputation = Reputation(ban_s=settings.ban_s)
        self.blocked: frozenset[PeerId] = frozenset()
        """Peers that are refused in both directions."""
        self.latency_s = 0.0
        """The delay of everything that leaves this node."""
        self.leaving: set[PeerId] = set()
        """Peers whose connection is being closed."""
        self._watchers: set[trio.MemorySendChannel[PeerChange]] = set()
        self._genesis_hash = genesis_hash
        self._book = book
        self._settings = settings
        self._reserved = settings.reserved_ids
        self._sessions: dict[PeerId, PeerSession] = {}
        self._leaving_again: set[PeerId] = set()
        self._transport: Transport | None = None
        self._nursery: trio.Nursery | None = None

    def start(self, transport: Transport, nursery: trio.Nursery) -> None:
        """Serve a transport that is about to run; tasks live in the nursery."""
        self._transport, self._nursery = transport, nursery

    def stop(self) -> None:
        """End every session, because the transport ended."""
        for session in tuple(self._sessions.values()):
            self.remove(session, "the transport ended")
        self.leaving.clear()
        self._leaving_again.clear()
        self._transport = None

    # ------------------------------------------------------------------------------ reading

    def find(self, peer: PeerId) -> PeerSession | None:
        """Return the session of a peer, whether its handshake is done or not."""
        return self._sessions.get(peer)

    def get(self, peer: PeerId) -> PeerSession | None:
        """Return the session of a peer whose handshake is done."""
        session = self._sessions.get(peer)
        return session if session is not None and session.is_ready else None

    def ready(self) -> list[PeerSession]:
        """Return the sessions whose handshake is done, in the order they came."""
        return [session for session in self._sessions.values() if session.is_ready]

    def connected_peers(self) -> Collection[PeerId]:
        """Return every peer with a session, whether its handshake is done or not."""
        return self._sessions.keys()

    def is_reserved(self, peer: PeerId) -> bool:
        """Return whether the operator keeps a slot for this peer."""
        return peer in self._reserved

    def has_ordinary_slot(self, session: PeerSession) -> bool:
        """Return whether an accepted inbound peer may stay: validators' slots are kept for them.

        What a peer is, it says itself; an operator who has to be sure reserves slots by peer id.
        """
        status = session.handshake.status
        assert status is not None, "a peer says what it is before it is given a slot"
        if not session.is_inbound or self.is_reserved(session.peer) or _is_validator(session):
            return True
        others = sum(
            1
            for other in self._sessions.values()
            if other is not session
            and other.is_accepted
            and not self.is_reserved(other.peer)
            and not _is_validator(other)
        )
        settings = self._settings
        return others < settings.max_peers - len(self._reserved) - settings.validator_slots

    def _has_slot(self, peer: PeerId) -> bool:
        """Return whether a peer may connect: slots of reserved peers that are away stay free."""
        if self.is_reserved(peer):
            return True
        away = sum(1 for reserved in self._reserved if reserved not in self._sessions)
        return len(self._sessions) + away < self._settings.max_peers

    def state(self, session: PeerSession) -> PeerState:
        """Return what is known of a peer."""
        return session.state(self.reputation.score(session.peer, trio.current_time()))

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[trio.MemoryReceiveChannel[PeerChange]]:
        """Subscribe to peers that come, go and change; a slow reader misses the latest."""
        send, receive = trio.open_memory_channel[PeerChange](CHANGES_MAX)
        self._watchers.add(send)
        try:
            yield receive
        finally:
            self._watchers.discard(send)
            send.close()
            receive.close()

    # ------------------------------------------------------------------------ for devnets

    def block(self, peers: frozenset[PeerId]) -> None:
        """Cut off exactly these peers: disconnect them and refuse them in both directions."""
        self.blocked = peers
        for session in tuple(self._sessions.values()):
            if session.peer in peers:
                self.leave(session, "blocked")

    def set_latency_s(self, latency_s: float) -> None:
        """Delay everything that leaves this node."""
        self.latency_s = latency_s

    # --------------------------------------------------------------------- begin and end

    def admit(self, peer: PeerId, address: str, *, is_inbound: bool) -> PeerSession | None:
        """Begin a session with a connected peer; None, and it is hung up, if it is refused."""
        now = trio.current_time()
        known = self._sessions.get(peer)
        if known is not None:
            self.remove(known, "it connected anew")
        is_unwanted = peer in self.blocked or self.reputation.is_banned(peer, now)
        is_full = is_inbound and not self._has_slot(peer)
        if is_unwanted or is_full or self._nursery is None:
            self.counters.peers_refused += 1
            reason = "full" if is_full else "unwanted"
            logger.debug("peer-refused peer=%s reason=%s", peer, reason)
            self.hang_up(peer)
            return None
        session = PeerSession(
            peer,
            address,
            is_inbound=is_inbound,
            genesis_hash=self._genesis_hash,
            settings=self._settings,
            now=now,
        )
        self._sessions[peer] = session
        self._nursery.start_soon(self._serve, session)
        return session

    def mark_ready(self, session: PeerSession) -> None:
        """Publish a peer whose handshake is done."""
        session.came.set()
        self._book.record_ready(session.peer)
        self.counters.peers_came += 1
        state = self.state(session)
        logger.info(
            "peer-connected peer=%s address=%s inbound=%s best=%d finalized=%d agent=%r",
            session.peer,
            session.address,
            session.is_inbound,
            state.best,
            state.finalized,
            state.agent,
        )
        self.publish_change(Change.CAME, session)

    def remove(self, session: PeerSession, reason: str) -> None:
        """Remove a session and stop its tasks; the connection is left as it is."""
        del self._sessions[session.peer]
        session.scope.cancel()
        if session.is_ready:
            self.counters.peers_went += 1
            self._book.went(session.peer, trio.current_time())
            logger.info("peer-disconnected peer=%s reason=%r", session.peer, reason)
            self.publish_change(Change.WENT, session)
        else:
            logger.debug("peer-not-ready peer=%s reason=%r", session.peer, reason)

    def leave(self, session: PeerSession, reason: str) -> None:
        """End a session and close its connection."""
        if self._sessions.get(session.peer) is not session:
            return
        self.remove(session, reason)
        self.hang_up(session.peer)

    def hang_up(self, peer: PeerId) -> None:
        """Close the connection to a peer that has no session."""
        if peer in self.leaving:
            self._leaving_again.add(peer)  # it came back while its connection was being closed
        elif self._nursery is not None:
            self.leaving.add(peer)
            self._nursery.start_soon(self._hang_up, peer)

    def penalize(self, peer: PeerId, fault: Fault, reason: str) -> bool:
        """Lower a peer's reputation; True if that bans it now, which ends its session."""
        self.counters.faults += 1
        logger.debug("peer-faulted peer=%s fault=%s reason=%r", peer, fault.title, reason)
        if not self.reputation.note(peer, fault, trio.current_time()):
            return False
        self.counters.peers_banned += 1
        logger.warning("peer-banned peer=%s fault=%s reason=%r", peer, fault.title, reason)
        session = self._sessions.get(peer)
        if session is not None:
            self.leave(session, f"banned: {reason}")
        return True

    async def _hang_up(self, peer: PeerId) -> None:
        transport = self._transport
        try:
            if transport is not None:
                with trio.move_on_after(HANG_UP_LIMIT_SECONDS):
                    await transport.disconnect(peer)
        except Exception:  # a connection that cannot be closed ends nothing else
            logger.exception("hang-up-failed peer=%s", peer)
        finally:
            self.leaving.discard(peer)
        came_back = peer in self._leaving_again
        self._leaving_again.discard(peer)
        if came_back and peer not in self._sessions:
            self.hang_up(peer)

    # ------------------------------------------------------------------------------ sending

    def send(self, session: PeerSession, kind: MessageKind, body: bytes) -> None:
        """Queue a message for a peer."""
        self.send_frame(session, kind, encode(kind, body))

    def send_frame(self, session: PeerSession, kind: MessageKind, frame: bytes) -> None:
        """Queue an encoded message for a peer; a peer whose outbox is full is disconnected."""
        due = trio.current_time() + self.latency_s
        if not session.outboxes[CHANNELS[kind]].put(frame, due):
            self.leave(session, "it reads too slowly, its outbox is full")

    def publish_change(self, change: Change, session: PeerSession) -> None:
        """Publish a change to all watchers; a full one misses it, and delays nothing."""
        news = PeerChange(change, self.state(session))
        for watcher in tuple(self._watchers):
            try:
                watcher.send_nowait(news)
            except (trio.WouldBlock, trio.BrokenResourceError):
                logger.debug("change-missed peer=%s change=%s", session.peer, change.value)

    # -------------------------------------------------------------------- a session's tasks

    async def _serve(self, session: PeerSession) -> None:
        """Run a session's tasks until it ends."""
        with session.scope:
            try:
                async with trio.open_nursery() as nursery:
                    for channel in Channel:
                        nursery.start_soon(self._write_outbox, session, channel)
                    nursery.start_soon(self._watch, session)
            except Exception:  # one peer's failure is not the others'
                logger.exception("session-failed peer=%s", session.peer)
                self.leave(session, "its session failed")

    async def _write_outbox(self, session: PeerSession, channel: Channel) -> None:
        """Write the outbox of one channel, in a task of its own: none waits for another."""
        outbox = session.outboxes[channel]
        while True:
            frames = await outbox.take()
            assert self._transport is not None
            try:
                with trio.fail_after(SEND_LIMIT_SECONDS):
                    await self._transport.send(session.peer, channel, frames)
            except trio.TooSlowError:
                self.leave(session, f"it did not read for {SEND_LIMIT_SECONDS:.0f} s")
            except PeerGoneError as error:
                self.leave(session, str(error))
            self.counters.writes += 1
            self.counters.frames_sent += len(frames)
            self.counters.bytes_sent += sum(map(len, frames))

    async def _watch(self, session: PeerSession) -> None:
        """Disconnect a peer that does not finish the handshake, or is silent afterwards."""
        with trio.move_on_at(session.handshake.deadline):
            await session.came.wait()
        if not session.is_ready:
            self.leave(session, "it did not finish the handshake in time")
        keepalive = session.keepalive
        while True:
            due = keepalive.due
            await trio.sleep_until(due)
            now = trio.current_time()
            if now - due > STALL_SECONDS:
                keepalive.forgive(now - due)
            match keepalive.step(now):
                case Ping(nonce):
                    self.send(session, MessageKind.PING, nonce)
                case Silent():
                    self.counters.peers_silent += 1
                    self.leave(session, "it does not answer pings")


def _is_validator(session: PeerSession) -> bool:
    """Return whether a peer says that it is a validator."""
    status = session.handshake.status
    return status is not None and bool(status.roles & Roles.VALIDATOR)
