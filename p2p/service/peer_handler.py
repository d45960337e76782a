"""The peer handler: what the messages, the gossip and the requests of peers lead to.

It carries out transport.Handler: it decodes frames, limits their rates, steps each session's
handshake, and passes the rest on - consensus messages to a queue, transactions to the node's
channel, address records to the book, requests to the node. Sessions themselves are
`session_table.py`.

Rules:
- Nothing of a peer is taken before its status is accepted.
- A call from the transport never waits, and never raises because of what a peer sent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final, Protocol

import trio

from p2p.protocols.address_book import AddressBook
from p2p.protocols.addresses import (
    RECORDS_MAX,
    AddressRecord,
    decode_records,
    encode_records,
    sign_record,
)
from p2p.protocols.consensus_queue import ConsensusQueue, Inbound
from p2p.protocols.limits import Debts
from p2p.protocols.reputation import Fault
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
from p2p.service.peer_session import REQUESTS_MAX, Change, PeerSession
from p2p.service.session_table import SessionTable
from p2p.service.settings import (
    CONFIGURED_PEER_PART,
    COST_SIZE,
    INVALID_PEERS_MAX,
    INVALID_RATE,
    INVALID_RATE_OF_ALL,
    RELAYED_OWED_MAX,
)
from p2p.transport.transport import Channel, PeerId, RequestError
from p2p.transport.wire import (
    ANSWER_SIZE_MAX,
    CHANNELS,
    Envelope,
    MessageKind,
    RequestKind,
    WireDecodeError,
    decode,
    decode_request,
    encode,
)
from runtime.crypto.keys import Keypair

logger = logging.getLogger(__name__)

ANSWER_LIMIT_SECONDS: Final = 15.0
REFUSED_RECENTLY_SECONDS: Final = 45.0
"""Longer than the longest pause between two dials of one peer."""
BATCHES_MAX: Final = 256
"""Transaction batches that wait for the node."""


class Provider(Protocol):
    """The node, as its peers see it."""

    def status(self) -> Status:
        """Return the node's current status; the genesis hash never changes."""
        ...

    async def answer(self, peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
        """Answer a peer's request. Raises RequestError to refuse it."""
        ...


class PeerHandler:
    """The transport's handler for the peers of one node."""

    def __init__(self, provider: Provider, book: AddressBook, sessions: SessionTable) -> None:
        self.consensus = ConsensusQueue()
        self.transactions = Transactions()
        self.batches_out, self.batches_in = trio.open_memory_channel[
            tuple[PeerId, tuple[bytes, ...]]
        ](BATCHES_MAX)
        self._consensus_waiting = trio.Event()
        self._own_record: AddressRecord | None = None
        self._fresh_records: list[AddressRecord] = []
        self._records_waiting = trio.Event()
        self._first_refusal: float | None = None
        """When a peer refused this node for its key, since one took it; on trio's clock."""
        self._last_refusal = 0.0
        self._provider = provider
        self._book = book
        self._sessions = sessions
        self._counters = sessions.counters
        self._invalid = Debts(INVALID_RATE, INVALID_RATE_OF_ALL, INVALID_PEERS_MAX)

    # ------------------------------------------------------------------ for the service

    async def next_consensus(self) -> Inbound:
        """Wait for a consensus message: one of each peer in turn."""
        while (message := self.consensus.take()) is None:
            self._consensus_waiting = trio.Event()
            await self._consensus_waiting.wait()
        return message

    async def next_records(self) -> Sequence[AddressRecord]:
        """Wait for address records that peers sent of themselves, and return them once."""
        await self._records_waiting.wait()
        self._records_waiting = trio.Event()
        records, self._fresh_records = self._fresh_records, []
        return records

    def sign_addresses(self, identity: Keypair, addresses: tuple[str, ...]) -> None:
        """Sign this node's addresses where they changed, to be sent to peers."""
        known = self._own_record
        if addresses and (known is None or known.addresses != addresses):
            # The wall clock numbers records across restarts.
            self._own_record = sign_record(identity, time.time_ns() // 1_000_000, addresses)

    def publish_status(self) -> None:
        """Send the node's status to every peer."""
        frame = encode(MessageKind.STATUS, encode_status(self._provider.status()))
        for session in self._sessions.ready():
            self._sessions.send_frame(session, MessageKind.STATUS, frame)

    def send_addresses(self, session: PeerSession) -> None:
        """Send a peer this node's addresses and those of others."""
        own = [self._own_record] if self._own_record is not None else []
        self.send_records(session, own + self._book.records(besides=session.peer))

    def send_records(self, session: PeerSession, records: Sequence[AddressRecord]) -> None:
        """Send a peer some address records."""
        if records:
            self._sessions.send(session, MessageKind.ADDRESSES, encode_records(records))

    def charge_invalid(self, peer: PeerId, seconds: float) -> None:
        """Note how long this node worked on a neighbour's transactions that it refused.

        A peer that the operator named relays for many strangers, and is no stranger itself.
        """
        part = CONFIGURED_PEER_PART if self._book.is_configured(peer) else 1.0
        self._invalid.charge(peer, part * seconds, trio.current_time())

    def penalize(self, peer: PeerId, fault: Fault, reason: str) -> None:
        """Lower a peer's reputation; a peer that is banned by it is disconnected."""
        if self._sessions.penalize(peer, fault, reason):
            self.consensus.drop(peer)

    def seconds_refused(self) -> float:
        """Return for how long configured peers refuse this node because its key is in use, and none
        of them takes it."""
        first, now = self._first_refusal, trio.current_time()
        if first is None or now - self._last_refusal > REFUSED_RECENTLY_SECONDS:
            return 0.0
        is_taken = any(self._book.is_configured(each.peer) for each in self._sessions.ready())
        return 0.0 if is_taken else now - first

    # ------------------------------------------------------------------ transport.Handler

    def connected(self, peer: PeerId, address: str, *, is_inbound: bool) -> None:
        """Begin the handshake with a peer, unless it is refused."""
        session = self._sessions.admit(peer, address, is_inbound=is_inbound)
        if session is None:
            return
        try:
            # Here and not in the session's task: it must be queued before any answer is.
            self._sessions.send(session, MessageKind.STATUS, encode_status(self._provider.status()))
        except Exception:  # a node that has no status now may have one later
            logger.exception("greeting-failed peer=%s", peer)
            self._sessions.leave(session, "this node has no status to tell")

    def disconnected(self, peer: PeerId) -> None:
        """End the session of a peer that went."""
        session = self._sessions.find(peer)
        if session is not None:
            self._sessions.remove(session, "it disconnected")

    def received(self, peer: PeerId, channel: Channel, frame: bytes) -> None:
        """Limit, decode and pass on a frame."""
        session = self._sessions.find(peer)
        if session is None:
            # It came while its former connection was being closed, so it was never announced.
            self._sessions.hang_up(peer)
            return
        now = trio.current_time()
        self._counters.frames_received += 1
        self._counters.bytes_received += len(frame)
        if not session.rates[channel].take(now, _cost(frame)):
            self._counters.frames_flooded += 1
            self.penalize(peer, Fault.FLOODING, f"too many frames on {channel.value}")
            return
        try:
            envelope = decode(frame)
            if CHANNELS.get(envelope.kind) is not channel:
                name = envelope.kind.name
                self.penalize(peer, Fault.OUT_OF_TURN, f"{name} came on {channel.value}")
                return
            self._step(session, envelope, now)
        except WireDecodeError as error:
            self.penalize(peer, Fault.BAD_FRAME, str(error))

    def gossiped(self, source: PeerId, topic: str, message: bytes) -> bool:
        """Pass a batch of transactions to the node; False if it shall go no further."""
        session = self._sessions.find(source)
        now = trio.current_time()
        # A flood costs its neighbour no reputation: that may be an honest node that relays it. What
        # is invalid is bounded by the time that it costs here.
        owed = self._invalid.part_owed(source, now)
        if (
            session is None
            or not session.is_accepted
            or owed >= 1
            or not session.gossip.take(now, _cost(message))
        ):
            self._counters.gossip_refused += 1
            return False
        try:
            envelope = decode(message)
            if envelope.kind is not MessageKind.TRANSACTIONS:
                raise WireDecodeError(f"{envelope.kind.name} is not gossip")
            batch = decode_batch(envelope.body)
        except WireDecodeError as error:
            self._counters.gossip_refused += 1
            self.penalize(source, Fault.BAD_FRAME, str(error))
            return False
        fresh = self.transactions.received(batch, now)
        if not fresh:
            return False
        try:
            self.batches_out.send_nowait((source, fresh))
        except (trio.WouldBlock, trio.BrokenResourceError):
            self._counters.transactions_lost += len(fresh)
            self.transactions.forget(fresh)
        else:
            self._counters.transactions_received += len(fresh)
        # It is relayed before it is checked, so what a bad neighbour sends is charged to this node
        # by the next one: who owes already is heard, and relayed no more.
        return owed < RELAYED_OWED_MAX

    async def answer(self, peer: PeerId, request: bytes) -> bytes:
        """Let the node answer a request, within the peer's limits. Raises RequestError."""
        session = self._sessions.find(peer)
        if session is None or not session.is_accepted:
            raise RequestError("The handshake comes first. Send a status, then ask again.")
        try:
            if not session.requests.take(trio.current_time()):
                self.penalize(peer, Fault.FLOODING, "too many requests")
                raise RequestError("These are too many requests. Ask again in a second.")
            if session.answers_in_flight >= REQUESTS_MAX:
                raise RequestError(f"{REQUESTS_MAX} requests are in flight. Wait for an answer.")
            session.answers_in_flight += 1
            try:
                answer = await self._answer(peer, request)
            finally:
                session.answers_in_flight -= 1
        except RequestError:
            self._counters.requests_refused += 1
            raise
        self._counters.requests_answered += 1
        return answer

    def identity_in_use(self, peer: PeerId) -> None:
        """Record that a peer refuses this node because another one with its key is connected.

        Anybody can say so, and it may end this node: only peers that its operator named count.
        """
        if not self._book.is_configured(peer):
            logger.debug("identity-in-use-unheard peer=%s", peer)
            return
        self._sessions.counters.identity_refused += 1
        logger.warning("identity-in-use peer=%s", peer)
        now = trio.current_time()
        if self._first_refusal is None or now - self._last_refusal > REFUSED_RECENTLY_SECONDS:
            self._first_refusal = now
        self._last_refusal = now

    # ------------------------------------------------------------------ messages of peers

    def _step(self, session: PeerSession, envelope: Envelope, now: float) -> None:
        """Step the handshake with one message, and pass it on. Raises WireDecodeError."""
        action = session.handshake.step(envelope, now)
        has_new_status = isinstance(action, SayWelcome | Updated)
        if has_new_status and not self._sessions.has_ordinary_slot(session):
            # Only now is it known what the peer is, and a later status may say something else.
            self._counters.peers_refused += 1
            self._sessions.leave(session, "full: the slots left are kept for validators")
            return
        match action:
            case SayWelcome():
                self._sessions.send(session, MessageKind.WELCOME, b"")
            case Ready():
                if self._book.is_configured(session.peer):
                    self._first_refusal = None
                self._sessions.mark_ready(session)
                self.send_addresses(session)
            case Updated():
                if session.is_ready:
                    self._sessions.publish_change(Change.STATUS, session)
            case Nothing():
                pass
            case Refuse(fault, reason):
                self.penalize(session.peer, fault, reason)
            case Leave(fault, reason):
                logger.warning("peer-refused peer=%s reason=%r", session.peer, reason)
                self._counters.peers_refused += 1
                self._sessions.reputation.note(session.peer, fault, now)
                self._sessions.leave(session, reason)
            case Take() if CHANNELS[envelope.kind] is Channel.CONSENSUS:
                self._on_consensus(session, envelope, now)
            case Take():
                self._on_control(session, envelope, now)

    def _on_control(self, session: PeerSession, envelope: Envelope, now: float) -> None:
        if envelope.kind is MessageKind.PING:
            self._sessions.send(session, MessageKind.PONG, envelope.body)
        elif envelope.kind is MessageKind.PONG:
            latency_s = session.keepalive.answered(envelope.body, now)
            session.latency_s = session.latency_s if latency_s is None else latency_s
        elif envelope.kind is MessageKind.ADDRESSES:
            self._on_addresses(session, envelope.body, now)

    def _on_addresses(self, session: PeerSession, body: bytes, now: float) -> None:
        if not session.addresses.take(now):
            self.penalize(session.peer, Fault.FLOODING, "too many address records")
            return
        for record in decode_records(body):
            is_own_news = record.peer == session.peer and not self._book.has(record)
            if not self._book.add(record, session.peer):
                reason = f"a record of {record.peer} that it did not sign"
                self.penalize(session.peer, Fault.BAD_RECORD, reason)
                return
            if is_own_news and len(self._fresh_records) < RECORDS_MAX:
                self._fresh_records.append(record)
                self._records_waiting.set()

    def _on_consensus(self, session: PeerSession, envelope: Envelope, now: float) -> None:
        message = Inbound(session.peer, envelope.kind, envelope.body)
        if self.consensus.is_known(message, now):
            self._counters.consensus_known += 1
        elif self.consensus.put(message):
            self._counters.consensus_taken += 1
            self._consensus_waiting.set()
        else:
            self._counters.consensus_lost += 1

    async def _answer(self, peer: PeerId, request: bytes) -> bytes:
        try:
            decoded = decode_request(request)
        except WireDecodeError as error:
            self.penalize(peer, Fault.BAD_FRAME, str(error))
            raise RequestError(f"The request cannot be read: {error}.") from error
        name = decoded.kind.name
        try:
            with trio.fail_after(ANSWER_LIMIT_SECONDS):
                answer = await self._provider.answer(peer, decoded.kind, decoded.body)
        except RequestError:
            raise
        except trio.TooSlowError as error:
            raise RequestError(f"Answering {name} takes too long. Ask for less.") from error
        except Exception as error:  # a node that fails to answer goes on
            logger.exception("answer-failed peer=%s kind=%s", peer, name)
            raise RequestError(f"{name} could not be answered. Ask another peer.") from error
        if len(answer) > ANSWER_SIZE_MAX[decoded.kind]:
            logger.error("answer-too-large peer=%s kind=%s bytes=%d", peer, name, len(answer))
            raise RequestError(f"The answer to {name} would be too large. Ask for less.")
        await trio.sleep(self._sessions.latency_s)
        return answer


def _cost(frame: bytes) -> float:
    return 1 + len(frame) / COST_SIZE
