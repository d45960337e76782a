"""The dialer: dials peers of the address book until there are as many as wanted.

Reserved peers are dialled always. A bootnode or reserved peer that cannot be reached is a warning
with the reason: once for each reason, and again when it lasts.
"""

from __future__ import annotations

import logging
from typing import Final

import trio

from p2p.protocols.address_book import AddressBook, Dial
from p2p.service.session_table import SessionTable
from p2p.transport.transport import PeerId, Transport, TransportError

logger = logging.getLogger(__name__)

TICK_SECONDS: Final = 0.2
DIALS_MAX: Final = 4
"""Dials in flight."""
DIAL_LIMIT_SECONDS: Final = 10.0
REMINDER_SECONDS: Final = 600.0
"""How often the warning of a configured address that stays unreachable is repeated."""


class Dialer:
    """Dials the peers that the book returns, as long as peers are missing."""

    def __init__(self, book: AddressBook, sessions: SessionTable, target_peers: int) -> None:
        self._book = book
        self._sessions = sessions
        self._target_peers = target_peers
        self._in_flight: set[PeerId] = set()
        self._warned: dict[str, tuple[str, float]] = {}
        """The last warning of each configured address: its reason, and when."""

    async def run(self, transport: Transport) -> None:
        """Dial over one transport until cancelled."""
        self._in_flight.clear()
        async with trio.open_nursery() as nursery:
            while True:
                for dial in self._next_dials():
                    self._in_flight.add(dial.peer)
                    nursery.start_soon(self._dial, transport, dial)
                await trio.sleep(TICK_SECONDS)

    def _next_dials(self) -> list[Dial]:
        sessions, now = self._sessions, trio.current_time()
        connected = sessions.connected_peers()
        coming = {*connected, *self._in_flight}
        missing = self._target_peers - sum(not sessions.is_reserved(peer) for peer in coming)
        excluded = {*connected, *sessions.leaving, *sessions.blocked}
        excluded |= sessions.reputation.banned(now)
        free = DIALS_MAX - len(self._in_flight)
        return self._book.next_dials(now, excluded, min(free, missing), reserved_slots=free)

    async def _dial(self, transport: Transport, dial: Dial) -> None:
        counters = self._sessions.counters
        counters.dials += 1
        try:
            with trio.fail_after(DIAL_LIMIT_SECONDS):
                await transport.dial(dial.address)
            self._warned.pop(dial.address, None)
            if dial.peer not in self._sessions.connected_peers():
                # Connected but without a session: it was refused meanwhile.
                self._sessions.hang_up(dial.peer)
        except (TransportError, trio.TooSlowError) as error:
            counters.dials_failed += 1
            self._log_failure(dial, str(error) or "no answer in time")
        except Exception:  # an address that breaks the transport's dial stops no other dial
            counters.dials_failed += 1
            logger.exception("dial-broke address=%s", dial.address)
        finally:
            self._in_flight.discard(dial.peer)
            self._book.dialed(dial.peer, trio.current_time())

    def _log_failure(self, dial: Dial, reason: str) -> None:
        now = trio.current_time()
        last_reason, last_time = self._warned.get(dial.address, ("", 0.0))
        is_news = reason != last_reason or now - last_time >= REMINDER_SECONDS
        if not (dial.is_configured and is_news):
            logger.debug("dial-failed address=%s reason=%r", dial.address, reason)
            return
        self._warned[dial.address] = (reason, now)
        logger.warning("peer-unreachable address=%s reason=%r", dial.address, reason)
