"""An HTTP client of an ASGI application, for tests without a network."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
from starlette.routing import BaseRoute, Router


class _Body(httpx.AsyncByteStream):
    """A body in one piece. httpx's own is a generator, which a refused request leaves open."""

    def __init__(self, data: bytes) -> None:
        self._parts = [data] if data else []

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._parts:
            raise StopAsyncIteration
        return self._parts.pop()


class _Transport(httpx.ASGITransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        data = await request.aread()
        request.stream = _Body(data)
        return await super().handle_async_request(request)


def client_of(routes: list[BaseRoute], host: str = "127.0.0.1") -> httpx.AsyncClient:
    """Return a client that seems to come from a host."""
    transport = _Transport(Router(routes), client=(host, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")
