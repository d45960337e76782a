"""The dialer: dials peers of the address book until there are as many as wanted."""

from __future__ import annotations

import logging
from typing import Final

import trio

from p2p.protocols.address_book import AddressBook, Dial
from p2p.service.session_table import SessionTable
from p2p.transport.transport import Transport, TransportError

logger = logging.getLogger(__name__)

TICK_SECONDS: Final = 0.2
DIALS_MAX: Final = 4
"""Dials in flight."""
DIAL_LIMIT_SECONDS: Final = 10.0


class Dialer:
    """Dials the peers that the book returns, as long as peers are missing."""

    def __init__(self, book: AddressBook, sessions: SessionTable, target_peers: int) -> None:
        self._book = book
        self._sessions = sessions
        self._target_peers = target_peers
        self._in_flight = 0

    async def run(self, transport: Transport) -> None:
        """Dial over one transport until cancelled."""
        self._in_flight = 0
        async with trio.open_nursery() as nursery:
            while True:
                for dial in self._next_dials():
                    self._in_flight += 1
                    nursery.start_soon(self._dial, transport, dial)
                await trio.sleep(TICK_SECONDS)

    def _next_dials(self) -> list[Dial]:
        sessions, now = self._sessions, trio.current_time()
        connected = sessions.connected_peers()
        missing = self._target_peers - len(connected) - self._in_flight
        excluded = {*connected, *sessions.leaving, *sessions.blocked}
        excluded |= sessions.reputation.banned(now)
        slots = min(DIALS_MAX - self._in_flight, missing)
        return self._book.next_dials(now, excluded, slots)

    async def _dial(self, transport: Transport, dial: Dial) -> None:
        counters = self._sessions.counters
        counters.dials += 1
        try:
            with trio.fail_after(DIAL_LIMIT_SECONDS):
                await transport.dial(dial.address)
            if dial.peer not in self._sessions.connected_peers():
                # Connected but without a session: it was refused meanwhile.
                self._sessions.hang_up(dial.peer)
        except (TransportError, trio.TooSlowError) as error:
            counters.dials_failed += 1
            logger.debug("dial-failed address=%s reason=%r", dial.address, str(error))
        except Exception:  # an address that breaks the transport's dial stops no other dial
            counters.dials_failed += 1
            logger.exception("dial-broke address=%s", dial.address)
        finally:
            self._in_flight -= 1
            self._book.dialed(dial.peer, trio.current_time())
