"""The sessions of all peers: the transport's handler, and what is written to each peer.

What it does: admits peers, shakes hands, judges what comes in and gives it on - consensus messages
to `votes`, transactions to the node's channel, address records to the book, requests to the node -
and writes what waits in each peer's outboxes. It does not know who is dialled, nor how a transport
is started.

Rules:
- Nothing of a peer is taken before its status is, and nothing is sent to it before its WELCOME.
- A call from the transport never waits and never raises because of what a peer sent.
- Whoever leaves is out of `_sessions` at once; its connection is closed by a task of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Final, Protocol

import trio

from p2p.protocols.address_book import AddressBook
from p2p.protocols.addresses import (
    RECORDS_MAX,
    AddressRecord,
    decode_records,
    encode_records,
)
from p2p.protocols.consensus_queue import ConsensusQueue, Inbound
from p2p.protocols.keepalive import Ping, Silent
from p2p.protocols.reputation import Fault, Reputation
from p2p.protocols.status import (
    Leave,
    Nothing,
    Ready,
    Refuse,
    SayWelcome,
    Status,
    Take,
    Updated,
    encode_status,
)
from p2p.protocols.transactions import Transactions, decode_batch
from p2p.service.peer_session import REQUESTS_MAX, Change, PeerChange, PeerState, Session
from p2p.service.settings import COST_SIZE, Counters, Settings
from p2p.transport.transport import Channel, PeerGoneError, PeerId, RequestError, Transport
from p2p.transport.wire import (
    ANSWER_SIZE_MAX,
    CHANNELS,
    DecodeError,
    Envelope,
    MessageKind,
    RequestKind,
    decode,
    decode_request,
    encode,
)

logger = logging.getLogger(__name__)

SEND_LIMIT_SECONDS: Final = 10.0
"""A peer that does not take a write for so long is disconnected."""
HANG_UP_LIMIT_SECONDS: Final = 5.0
ANSWER_LIMIT_SECONDS: Final = 15.0
STALL_SECONDS: Final = 1.0
"""Waking up so much too late means that this node stood still, not its peers."""
BATCHES_MAX: Final = 256
"""Transaction batches that wait for the node."""
CHANGES_MAX: Final = 1024


class Provider(Protocol):
    """What the network asks of its node."""

    def status(self) -> Status:
        """Return what the node has now; the genesis hash never changes."""
        ...

    async def answer(self, peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
        """Answer a peer's request. Raises RequestError to refuse it."""
        ...


class Sessions:
    """Every connected peer, by its id. Carries out transport.Handler."""

    def __init__(self, provider: Provider, book: AddressBook, settings: Settings) -> None:
        self.counters = Counters()
        self.reputation = Reputation(ban_s=settings.ban_s)
        self.votes = ConsensusQueue()
        self.votes_waiting = trio.Event()
        self.transactions = Transactions()
        self.batches_out, self.batches_in = trio.open_memory_channel[
            tuple[PeerId, tuple[bytes, ...]]
        ](BATCHES_MAX)
        self.blocked: frozenset[PeerId] = frozenset()
        self.latency_s = 0.0
        self.own_record: AddressRecord | None = None
        self.fresh_records: list[AddressRecord] = []
        self.records_waiting = trio.Event()
        self.leaving: set[PeerId] = set()
        self._leaving_again: set[PeerId] = set()
        self.watchers: set[trio.MemorySendChannel[PeerChange]] = set()
        self._provider = provider
        self._book = book
        self._settings = settings
        status = provider.status()
        encode_status(status)  # so that a status that cannot be said ends the start, not a session
        self._genesis_hash = status.genesis_hash
        self._sessions: dict[PeerId, Session] = {}
        self._transport: Transport | None = None
        self._nursery: trio.Nursery | None = None

    # ------------------------------------------------------------------ for the service

    def start(self, transport: Transport, nursery: trio.Nursery) -> None:
        """Serve a transport that is about to run; tasks live in the nursery."""
        self._transport, self._nursery = transport, nursery

    def stop(self) -> None:
        """End every session, because the transport did."""
        for session in tuple(self._sessions.values()):
            self._end(session, "the transport ended")
        self.leaving.clear()
        self._leaving_again.clear()
        self._transport = None

    def get(self, peer: PeerId) -> Session | None:
        """Return the session of a peer whose handshake is done."""
        session = self._sessions.get(peer)
        return session if session is not None and session.is_ready else None

    def ready(self) -> list[Session]:
        """Return the sessions whose handshake is done, in the order they came."""
        return [session for session in self._sessions.values() if session.is_ready]

    def all(self) -> list[Session]:
        """Return every session."""
        return list(self._sessions.values())

    def connected_peers(self) -> Collection[PeerId]:
        """Return every peer with a session, whether its handshake is done or not."""
        return self._sessions.keys()

    def state(self, session: Session) -> PeerState:
        """Return what is known of a peer."""
        return session.state(self.reputation.score(session.peer, trio.current_time()))

    def say(self, session: Session, kind: MessageKind, frame: bytes) -> None:
        """Let an encoded frame wait for a peer; a peer whose outbox is full is left."""
        due = trio.current_time() + self.latency_s
        if not session.outboxes[CHANNELS[kind]].put(frame, due):
            self.leave(session, "it reads too slowly, its outbox is full")

    def say_status(self) -> None:
        """Tell every peer the node's status."""
        frame = encode(MessageKind.STATUS, encode_status(self._provider.status()))
        for session in self.ready():
            self.say(session, MessageKind.STATUS, frame)

    def say_addresses(self, session: Session) -> None:
        """Tell a peer this node's addresses and those of others."""
        own = [self.own_record] if self.own_record is not None else []
        self.say_records(session, own + self._book.records(besides=session.peer))

    def say_records(self, session: Session, records: Sequence[AddressRecord]) -> None:
        """Tell a peer some addresses."""
        if records:
            frame = encode(MessageKind.ADDRESSES, encode_records(records))
            self.say(session, MessageKind.ADDRESSES, frame)

    def note(self, peer: PeerId, fault: Fault, reason: str) -> None:
        """Hold a fault against a peer; one that has too many is banned and left."""
        self.counters.faults += 1
        logger.debug("peer-faulted peer=%s fault=%s reason=%r", peer, fault.title, reason)
        if not self.reputation.note(peer, fault, trio.current_time()):
            return
        self.counters.peers_banned += 1
        self.votes.drop(peer)
        logger.warning("peer-banned peer=%s fault=%s reason=%r", peer, fault.title, reason)
        session = self._sessions.get(peer)
        if session is not None:
            self.leave(session, f"banned: {reason}")

    def leave(self, session: Session, reason: str) -> None:
        """End a session and close its connection."""
        if self._sessions.get(session.peer) is not session:
            return
        self._end(session, reason)
        self.hang_up(session.peer)

    def hang_up(self, peer: PeerId) -> None:
        """Close the connection to a peer that has no session."""
        if peer in self.leaving:
            self._leaving_again.add(peer)  # it came back while its connection was being closed
        elif self._nursery is not None:
            self.leaving.add(peer)
            self._nursery.start_soon(self._hang_up, peer)

    # ------------------------------------------------------------------ transport.Handler

    def connected(self, peer: PeerId, address: str, *, is_inbound: bool) -> None:
        """Begin the handshake with a peer, unless it is not wanted."""
        now = trio.current_time()
        known = self._sessions.get(peer)
        if known is not None:
            self._end(known, "it connected anew")
        is_unwanted = peer in self.blocked or self.reputation.is_banned(peer, now)
        is_full = is_inbound and len(self._sessions) >= self._settings.max_peers
        if is_unwanted or is_full or self._nursery is None:
            self.counters.peers_refused += 1
            reason = "full" if is_full else "unwanted"
            logger.debug("peer-refused peer=%s reason=%s", peer, reason)
            self.hang_up(peer)
            return
        session = Session(
            peer,
            address,
            is_inbound=is_inbound,
            genesis_hash=self._genesis_hash,
            settings=self._settings,
            now=now,
        )
        self._sessions[peer] = session
        self._nursery.start_soon(self._serve, session)
        try:
            # Here and not in the session's task: it must be queued before any answer is.
            frame = encode(MessageKind.STATUS, encode_status(self._provider.status()))
            self.say(session, MessageKind.STATUS, frame)
        except Exception:  # a node that cannot say its status now may do so later
            logger.exception("greeting-failed peer=%s", peer)
            self.leave(session, "this node has no status to tell")

    def disconnected(self, peer: PeerId) -> None:
        """End the session of a peer that went."""
        session = self._sessions.get(peer)
        if session is not None:
            self._end(session, "it disconnected")

    def received(self, peer: PeerId, channel: Channel, frame: bytes) -> None:
        """Judge a frame, and give on what it is for."""
        session = self._sessions.get(peer)
        if session is None:
            # It came while its former connection was being closed, so it was never announced.
            self.hang_up(peer)
            return
        now = trio.current_time()
        self.counters.frames_received += 1
        self.counters.bytes_received += len(frame)
        if not session.rates[channel].take(now, _cost(frame)):
            self.counters.frames_flooded += 1
            self.note(peer, Fault.FLOODING, f"too many frames on {channel.value}")
            return
        try:
            envelope = decode(frame)
            if CHANNELS.get(envelope.kind) is not channel:
                name = envelope.kind.name
                self.note(peer, Fault.OUT_OF_TURN, f"{name} came on {channel.value}")
                return
            self._step(session, envelope, now)
        except DecodeError as error:
            self.note(peer, Fault.BAD_FRAME, str(error))

    def gossiped(self, source: PeerId, topic: str, message: bytes) -> bool:
        """Give a batch of transactions to the node; False when it shall go no further."""
        session = self._sessions.get(source)
        now = trio.current_time()
        # Too much is not held against who hands on: it may be an honest one between two.
        if (
            session is None
            or not session.is_accepted
            or not session.gossip.take(now, _cost(message))
        ):
            self.counters.gossip_refused += 1
            return False
        try:
            envelope = decode(message)
            if envelope.kind is not MessageKind.TRANSACTIONS:
                raise DecodeError(f"{envelope.kind.name} is not gossip")
            batch = decode_batch(envelope.body)
        except DecodeError as error:
            self.counters.gossip_refused += 1
            self.note(source, Fault.BAD_FRAME, str(error))
            return False
        fresh = self.transactions.received(batch, now)
        if not fresh:
            return False
        try:
            self.batches_out.send_nowait((source, fresh))
        except (trio.WouldBlock, trio.BrokenResourceError):
            self.counters.transactions_lost += len(fresh)
            self.transactions.forget(fresh)
        else:
            self.counters.transactions_received += len(fresh)
        return True

    async def answer(self, peer: PeerId, request: bytes) -> bytes:
        """Let the node answer a request, within the peer's limits. Raises RequestError."""
        session = self._sessions.get(peer)
        if session is None or not session.is_accepted:
            raise RequestError("The handshake comes first. Send a status, then ask again.")
        try:
            if not session.requests.take(trio.current_time()):
                self.note(peer, Fault.FLOODING, "too many requests")
                raise RequestError("These are too many requests. Ask again in a second.")
            if session.answers_in_flight >= REQUESTS_MAX:
                raise RequestError(f"{REQUESTS_MAX} requests are in flight. Wait for an answer.")
            session.answers_in_flight += 1
            try:
                answer = await self._answer(peer, request)
            finally:
                session.answers_in_flight -= 1
        except RequestError:
            self.counters.requests_refused += 1
            raise
        self.counters.requests_answered += 1
        return answer

    # ------------------------------------------------------------------ what comes in

    def _step(self, session: Session, envelope: Envelope, now: float) -> None:
        """Take one message through the handshake and on. Raises DecodeError."""
        match session.handshake.step(envelope, now):
            case SayWelcome():
                self.say(session, MessageKind.WELCOME, encode(MessageKind.WELCOME, b""))
            case Ready():
                self._came(session)
            case Updated():
                if session.is_ready:
                    self._tell(Change.STATUS, session)
            case Nothing():
                pass
            case Refuse(fault, reason):
                self.note(session.peer, fault, reason)
            case Leave(fault, reason):
                logger.warning("peer-refused peer=%s reason=%r", session.peer, reason)
                self.counters.peers_refused += 1
                self.reputation.note(session.peer, fault, now)
                self.leave(session, reason)
            case Take() if CHANNELS[envelope.kind] is Channel.CONSENSUS:
                self._on_consensus(session, envelope, now)
            case Take():
                self._on_control(session, envelope, now)

    def _on_control(self, session: Session, envelope: Envelope, now: float) -> None:
        if envelope.kind is MessageKind.PING:
            self.say(session, MessageKind.PONG, encode(MessageKind.PONG, envelope.body))
        elif envelope.kind is MessageKind.PONG:
            latency_s = session.keepalive.answered(envelope.body, now)
            session.latency_s = session.latency_s if latency_s is None else latency_s
        elif envelope.kind is MessageKind.ADDRESSES:
            self._on_addresses(session, envelope.body, now)

    def _on_addresses(self, session: Session, body: bytes, now: float) -> None:
        if not session.addresses.take(now):
            self.note(session.peer, Fault.FLOODING, "too many address records")
            return
        for record in decode_records(body):
            is_own_news = record.peer == session.peer and not self._book.has(record)
            if not self._book.add(record, session.peer):
                reason = f"a record of {record.peer} that it did not sign"
                self.note(session.peer, Fault.BAD_RECORD, reason)
                return
            if is_own_news and len(self.fresh_records) < RECORDS_MAX:
                self.fresh_records.append(record)
                self.records_waiting.set()

    def _on_consensus(self, session: Session, envelope: Envelope, now: float) -> None:
        message = Inbound(session.peer, envelope.kind, envelope.body)
        if self.votes.is_known(message, now):
            self.counters.consensus_known += 1
        elif self.votes.put(message):
            self.counters.consensus_taken += 1
            self.votes_waiting.set()
        else:
            self.counters.consensus_lost += 1

    async def _answer(self, peer: PeerId, request: bytes) -> bytes:
        try:
            asked = decode_request(request)
        except DecodeError as error:
            self.note(peer, Fault.BAD_FRAME, str(error))
            raise RequestError(f"The request cannot be read: {error}.") from error
        name = asked.kind.name
        try:
            with trio.fail_after(ANSWER_LIMIT_SECONDS):
                answer = await self._provider.answer(peer, asked.kind, asked.body)
        except RequestError:
            raise
        except trio.TooSlowError as error:
            raise RequestError(f"Answering {name} takes too long. Ask for less.") from error
        except Exception as error:  # a node that fails to answer goes on
            logger.exception("answer-failed peer=%s kind=%s", peer, name)
            raise RequestError(f"{name} could not be answered. Ask another peer.") from error
        if len(answer) > ANSWER_SIZE_MAX[asked.kind]:
            logger.error("answer-too-large peer=%s kind=%s bytes=%d", peer, name, len(answer))
            raise RequestError(f"The answer to {name} would be too large. Ask for less.")
        await trio.sleep(self.latency_s)
        return answer

    # ------------------------------------------------------------------ a session's life

    def _came(self, session: Session) -> None:
        session.came.set()
        self._book.is_ready(session.peer)
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
        self._tell(Change.CAME, session)
        self.say_addresses(session)

    def _end(self, session: Session, reason: str) -> None:
        """Forget a session and stop its tasks; the connection is left as it is."""
        del self._sessions[session.peer]
        session.scope.cancel()
        if session.is_ready:
            self.counters.peers_went += 1
            self._book.went(session.peer, trio.current_time())
            logger.info("peer-disconnected peer=%s reason=%r", session.peer, reason)
            self._tell(Change.WENT, session)
        else:
            logger.debug("peer-not-ready peer=%s reason=%r", session.peer, reason)

    def _tell(self, change: Change, session: Session) -> None:
        """Tell who watches; one that does not read misses changes, never delays them."""
        news = PeerChange(change, self.state(session))
        for watcher in tuple(self.watchers):
            try:
                watcher.send_nowait(news)
            except (trio.WouldBlock, trio.BrokenResourceError):
                logger.debug("change-missed peer=%s change=%s", session.peer, change.value)

    async def _serve(self, session: Session) -> None:
        """Keep a session until it ends; whatever fails in it ends it alone."""
        with session.scope:
            try:
                async with trio.open_nursery() as nursery:
                    for channel in Channel:
                        nursery.start_soon(self._send_all, session, channel)
                    nursery.start_soon(self._watch, session)
            except Exception:  # one peer's failure is not the others'
                logger.exception("session-failed peer=%s", session.peer)
                self.leave(session, "its session failed")

    async def _send_all(self, session: Session, channel: Channel) -> None:
        """Write what waits on one channel, in a task of its own: none waits for the other."""
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

    async def _watch(self, session: Session) -> None:
        """Leave a peer that does not shake hands, or is silent afterwards."""
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
                    self.say(session, MessageKind.PING, encode(MessageKind.PING, nonce))
                case Silent():
                    self.counters.peers_silent += 1
                    self.leave(session, "it does not answer pings")

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


def _cost(frame: bytes) -> float:
    return 1 + len(frame) / COST_SIZE
