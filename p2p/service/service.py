"""The network service of a node: peers, consensus messages, transactions, requests.

It runs a transport and restarts it when it dies, while this interface and all queues go on; it
holds connections by the dialer, and gives the node one plain interface to its peers. It decodes no
body and relays nothing: only the node knows what is valid.

Rules:
- Only `request` waits for a peer. Other messages are queued; a full queue ends the session of the
  peer that does not read.
- Errors of a peer, of the node's provider and of the transport are logged and survived.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

import trio

from p2p.protocols.address_book import AddressBook
from p2p.protocols.consensus_queue import Inbound
from p2p.protocols.reputation import Ban, Fault
from p2p.protocols.status import encode_status
from p2p.protocols.transactions import encode_batch, topic_of
from p2p.service.dialer import Dialer
from p2p.service.peer_handler import PeerHandler, Provider
from p2p.service.peer_session import Change, PeerChange, PeerState
from p2p.service.session_table import SessionTable
from p2p.service.settings import Counters, NetworkSettings
from p2p.transport.transport import (
    Channel,
    PeerGoneError,
    PeerId,
    RequestError,
    Started,
    Transport,
    TransportError,
    peer_id_of,
)
from p2p.transport.wire import ANSWER_SIZE_MAX, CHANNELS, MessageKind, RequestKind, encode
from runtime.errors import first_cause

__all__ = [
    "Change",
    "Counters",
    "Fault",
    "Inbound",
    "PeerChange",
    "PeerState",
    "Provider",
    "Service",
    "NetworkSettings",
]

logger = logging.getLogger(__name__)

ANNOUNCE_SECONDS: Final = 0.25
"""The shortest time between two announcements."""
ADDRESSES_SECONDS: Final = 30.0
"""How often addresses are sent to peers."""
FRESH_ADDRESSES_SECONDS: Final = 1.0
"""The shortest time between two messages about peers that came."""
RESTART_SECONDS: Final = 0.5
RESTART_SECONDS_MAX: Final = 30.0
STEADY_SECONDS: Final = 60.0
"""A transport that ran so long has its back-off reset when it dies."""
PUBLISHES_MAX: Final = 64
LATENCY_MAX_MS: Final = 60_000
REQUEST_LIMIT_SECONDS: Final[dict[RequestKind, float]] = {
    RequestKind.BLOCKS: 15.0,
    RequestKind.BODY: 5.0,
    RequestKind.EPOCHS: 10.0,
    RequestKind.STATE: 15.0,
    RequestKind.BLOB: 20.0,
}


class Service:
    """The network, as its node sees it."""

    def __init__(
        self,
        make_transport: Callable[[], Transport],
        provider: Provider,
        settings: NetworkSettings = NetworkSettings(),  # noqa: B008 - frozen
    ) -> None:
        """`make_transport` is called again whenever a transport died: each runs once."""
        self._make_transport = make_transport
        self._transport = make_transport()
        self._settings = settings
        identity = settings.identity
        if identity is not None:
            own = peer_id_of(identity.account)
            assert own == self.peer_id, "the identity is not the key of the transport"
        status = provider.status()
        encode_status(status)  # so that a status that is too long ends the start, not a session
        self._topic = topic_of(status.genesis_hash)
        self._book = AddressBook(
            self.peer_id, settings.bootnodes, settings.random, settings.reserved_peers
        )
        self._sessions = SessionTable(status.genesis_hash, self._book, settings)
        self._handler = PeerHandler(provider, self._book, self._sessions)
        self._dialer = Dialer(self._book, self._sessions, settings.dialled_max)
        self._consensus_out, self.consensus = trio.open_memory_channel[Inbound](0)
        self._has_news = trio.Event()
        self._has_batch = trio.Event()
        self._publishing = 0

    # ------------------------------------------------------------------ reading

    @property
    def peer_id(self) -> PeerId:
        """This node's name among its peers."""
        return self._transport.peer_id

    @property
    def addresses(self) -> Sequence[str]:
        """Where this node can be dialled, public addresses first."""
        public = self._settings.public_addresses
        return tuple(dict.fromkeys((*public, *self._transport.addresses)))

    @property
    def counters(self) -> Counters:
        """What happened so far."""
        return self._sessions.counters

    @property
    def transactions(self) -> trio.MemoryReceiveChannel[tuple[PeerId, tuple[bytes, ...]]]:
        """Batches of transactions from peers, each transaction once."""
        return self._handler.batches_in

    def peers(self) -> Sequence[PeerState]:
        """Return the peers whose handshake is done, in the order they came."""
        return [self._sessions.state(session) for session in self._sessions.ready()]

    def configured_peers(self) -> Sequence[PeerState]:
        """Return the connected bootnodes and reserved peers: those that the operator chose."""
        return [peer for peer in self.peers() if self._book.is_configured(peer.peer)]

    @property
    def has_configured_peers(self) -> bool:
        """Return whether the operator named any peer."""
        return self._book.has_configured

    def bans(self) -> Sequence[Ban]:
        """Return the peers that are banned now, the one that is free first at the front."""
        return self._sessions.reputation.bans(trio.current_time())

    def seconds_refused(self) -> float:
        """Return for how long configured peers refuse this node for its key, and none takes it."""
        return self._handler.seconds_refused()

    def changes(self) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[PeerChange]]:
        """Subscribe to peers that come, go and change; a slow reader misses the latest."""
        return self._sessions.changes()

    # ------------------------------------------------------------------ sending

    def broadcast(self, kind: MessageKind, body: bytes, *, besides: PeerId | None = None) -> None:
        """Send a consensus message to every peer but one; it is not accepted from peers then."""
        frame = _consensus_frame(kind, body)
        self._handler.consensus.is_known(Inbound(self.peer_id, kind, body), trio.current_time())
        for session in self._sessions.ready():
            if session.peer != besides:
                self._sessions.send_frame(session, kind, frame)

    def send(self, peer: PeerId, kind: MessageKind, body: bytes) -> None:
        """Send a consensus message to one peer; does nothing if it is gone."""
        session = self._sessions.get(peer)
        if session is not None:
            self._sessions.send_frame(session, kind, _consensus_frame(kind, body))

    def gossip(self, raw: bytes) -> None:
        """Gossip a transaction in the next batch, unless it was gossiped recently."""
        if self._handler.transactions.put(raw, trio.current_time()):
            self._has_batch.set()
        else:
            self.counters.transactions_lost += 1
            logger.warning("transaction-not-spread bytes=%d reason='too large or many'", len(raw))

    def charge_invalid(self, peer: PeerId, seconds: float) -> None:
        """Note how long the node worked on a peer's gossip in vain; too much, and it is dropped."""
        self._handler.charge_invalid(peer, seconds)

    def announce(self) -> None:
        """Send the node's new status to all peers, soon and not too often."""
        self._has_news.set()

    async def request(self, peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
        """Ask a peer. Raises PeerGoneError, RequestError."""
        session = self._sessions.get(peer)
        if session is None:
            raise PeerGoneError(f"{peer} is not connected. Ask another peer.")
        request = encode(kind, body)
        self.counters.requests_sent += 1
        try:
            with trio.fail_after(REQUEST_LIMIT_SECONDS[kind]):
                async with session.slots:
                    await trio.sleep(self._sessions.latency_s)
                    answer = await self._transport.request(peer, request)
        except trio.TooSlowError as error:
            self.counters.requests_failed += 1
            self.penalize(peer, Fault.NO_ANSWER, f"{kind.name} was not answered in time")
            raise RequestError(f"{peer} did not answer in time. Ask another peer.") from error
        except TransportError:
            self.counters.requests_failed += 1
            raise
        if len(answer) > ANSWER_SIZE_MAX[kind]:
            self.counters.requests_failed += 1
            self.penalize(
                peer, Fault.BAD_ANSWER, f"{kind.name} was answered by {len(answer)} bytes"
            )
            raise RequestError(f"{peer} answered too much. Ask another peer.")
        return answer

    def penalize(self, peer: PeerId, fault: Fault, reason: str) -> None:
        """Lower a peer's reputation; a peer that falls too low is disconnected and banned."""
        self._handler.penalize(peer, fault, reason)

    # ------------------------------------------------------------------ for devnets

    def block(self, peers: Collection[PeerId]) -> None:
        """Cut off exactly these peers: disconnect them and refuse them in both directions."""
        blocked = frozenset(peers)
        self._sessions.block(blocked)
        logger.info("peers-blocked count=%d", len(blocked))

    def unblock(self) -> None:
        """Admit all peers again, and dial at once."""
        self._sessions.block(frozenset())
        self._book.retry_all()
        logger.info("peers-unblocked")

    def set_latency_ms(self, latency_ms: int) -> None:
        """Delay everything that leaves this node."""
        assert 0 <= latency_ms <= LATENCY_MAX_MS, f"0 to {LATENCY_MAX_MS} ms"
        self._sessions.set_latency_s(latency_ms / 1000)
        logger.info("latency-set latency_ms=%d", latency_ms)

    # ------------------------------------------------------------------ its life

    async def run(self, *, task_status: Started) -> None:
        """Serve until cancelled. Raises TransportError when the first start fails."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve_consensus)
            nursery.start_soon(self._announce_news)
            nursery.start_soon(self._publish_batches, nursery)
            nursery.start_soon(self._exchange_addresses)
            nursery.start_soon(self._relay_new_addresses)
            error = await self._supervise(nursery, task_status)
            nursery.cancel_scope.cancel()
        raise error

    async def _supervise(self, nursery: trio.Nursery, task_status: Started) -> BaseException:
        """Run transports one after the other, each after a pause that doubles.

        Returns what ended the first start; after that nothing ends it.
        """
        pause_s = RESTART_SECONDS
        is_first = True
        while True:
            began = trio.current_time()
            started = trio.Event()
            try:
                if not is_first:
                    self.counters.transport_restarts += 1
                    self._transport = self._make_transport()
                await self._run_transport(nursery, started, task_status if is_first else None)
                reason = "it ended"
            except Exception as error:  # noqa: BLE001 - a dead one is replaced, whatever killed it
                if is_first and not started.is_set():
                    return first_cause(error)
                reason = _cause_line(error)
            finally:
                self._sessions.stop()
            is_first = False
            lived = trio.current_time() - began
            pause_s = RESTART_SECONDS if lived >= STEADY_SECONDS else pause_s
            logger.error("transport-died reason=%r retry_s=%.1f", reason, pause_s)
            await trio.sleep(pause_s)
            pause_s = min(RESTART_SECONDS_MAX, pause_s * 2)

    async def _run_transport(
        self, nursery: trio.Nursery, started: trio.Event, task_status: Started | None
    ) -> None:
        transport = self._transport
        self._sessions.start(transport, nursery)
        async with trio.open_nursery() as life:
            await life.start(partial(_run_once, transport, self._handler, life.cancel_scope))
            started.set()
            self._sign_addresses()
            logger.info("network-started peer=%s addresses=%s", self.peer_id, self.addresses)
            life.start_soon(self._dialer.run, transport)
            life.start_soon(self._discover, transport)
            if task_status is not None:
                task_status.started()

    async def _discover(self, transport: Transport) -> None:
        """Find peers on the local network; where there is no multicast, that ends and no more."""
        discovery = self._settings.discovery
        if discovery is None:
            return
        try:
            await discovery.run(self.peer_id, transport.addresses, self._book.add_local)
        except Exception as error:  # noqa: BLE001 - whatever its library or the system refuses
            logger.warning("local-discovery-failed reason=%r", _cause_line(error))

    async def _serve_consensus(self) -> None:
        """Pass one message of each peer in turn to the node."""
        while True:
            await self._consensus_out.send(await self._handler.next_consensus())

    async def _announce_news(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news = trio.Event()
            try:
                self._handler.publish_status()
            except Exception:  # a node that has no status now may have one later
                logger.exception("announcement-failed")
            await trio.sleep(ANNOUNCE_SECONDS)

    async def _publish_batches(self, nursery: trio.Nursery) -> None:
        transactions = self._handler.transactions
        while True:
            due = transactions.due(trio.current_time())
            if due is None:
                self._has_batch = trio.Event()
                await self._has_batch.wait()
            elif due > trio.current_time():
                # Woken earlier when the batch is full before its time.
                self._has_batch = trio.Event()
                with trio.move_on_at(due):
                    await self._has_batch.wait()
            else:
                batch = transactions.take(trio.current_time())
                if self._publishing >= PUBLISHES_MAX:
                    self.counters.transactions_lost += len(batch)
                    transactions.forget(batch)
                    continue
                self._publishing += 1
                nursery.start_soon(self._publish, batch)

    async def _publish(self, batch: tuple[bytes, ...]) -> None:
        try:
            await trio.sleep(self._sessions.latency_s)
            message = encode(MessageKind.TRANSACTIONS, encode_batch(batch))
            await self._transport.publish(self._topic, message)
            self.counters.transactions_sent += len(batch)
        except Exception as error:  # noqa: BLE001 - gossip may be lost, its sender goes on
            self.counters.transactions_lost += len(batch)
            logger.warning("batch-lost transactions=%d reason=%r", len(batch), _cause_line(error))
        finally:
            self._publishing -= 1

    async def _exchange_addresses(self) -> None:
        while True:
            await trio.sleep(ADDRESSES_SECONDS)
            self._sign_addresses()
            for session in self._sessions.ready():
                self._handler.send_addresses(session)

    async def _relay_new_addresses(self) -> None:
        """Send a new peer's addresses to all others soon: nodes that start together meet."""
        while True:
            fresh = await self._handler.next_records()
            for session in self._sessions.ready():
                others = [record for record in fresh if record.peer != session.peer]
                self._handler.send_records(session, others)
            await trio.sleep(FRESH_ADDRESSES_SECONDS)

    def _sign_addresses(self) -> None:
        if self._settings.identity is not None:
            self._handler.sign_addresses(self._settings.identity, tuple(self.addresses))


async def _run_once(
    transport: Transport, handler: PeerHandler, scope: trio.CancelScope, *, task_status: Started
) -> None:
    """Run a transport; its end is the end of everything beside it."""
    await transport.run(handler, task_status=task_status)
    scope.cancel()


def _consensus_frame(kind: MessageKind, body: bytes) -> bytes:
    assert CHANNELS.get(kind) is Channel.CONSENSUS, f"{kind.name} is no consensus message"
    return encode(kind, body)


def _cause_line(error: BaseException) -> str:
    """Return the first cause in one line."""
    cause = first_cause(error)
    return f"{type(cause).__name__}: {cause}"[:300]
