"""A handler whose exceptions do not reach the transport: they are logged, and the node goes on.

Handlers promise not to raise; if one breaks the promise, a peer's message must not end the node.
"""

from __future__ import annotations

import logging

from p2p.transport.transport import Channel, Handler, PeerId, RequestError

_log = logging.getLogger(__name__)


class ContainedHandler:
    """Implements Handler by another one, and contains its exceptions."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def connected(self, peer: PeerId, address: str, *, is_inbound: bool) -> None:
        try:
            self._handler.connected(peer, address, is_inbound=is_inbound)
        except Exception:  # noqa: BLE001 - see above
            _log.exception("contain-handler call=connected peer=%s", peer)

    def disconnected(self, peer: PeerId) -> None:
        try:
            self._handler.disconnected(peer)
        except Exception:  # noqa: BLE001 - see above
            _log.exception("contain-handler call=disconnected peer=%s", peer)

    def received(self, peer: PeerId, channel: Channel, frame: bytes) -> None:
        try:
            self._handler.received(peer, channel, frame)
        except Exception:  # noqa: BLE001 - see above
            _log.exception("contain-handler call=received peer=%s channel=%s", peer, channel)

    def gossiped(self, source: PeerId, topic: str, message: bytes) -> bool:
        try:
            return self._handler.gossiped(source, topic, message)
        except Exception:  # noqa: BLE001 - see above
            _log.exception("contain-handler call=gossiped peer=%s topic=%s", source, topic)
            return False

    def identity_in_use(self, peer: PeerId) -> None:
        try:
            self._handler.identity_in_use(peer)
        except Exception:  # noqa: BLE001 - see above
            _log.exception("contain-handler call=identity_in_use peer=%s", peer)

    async def answer(self, peer: PeerId, request: bytes) -> bytes:
        """Answer a request. Raises RequestError, whatever the handler raised."""
        try:
            return await self._handler.answer(peer, request)
        except RequestError:
            raise
        except Exception as error:
            _log.exception("contain-handler call=answer peer=%s", peer)
            raise RequestError("The peer failed to answer. Ask another peer.") from error
