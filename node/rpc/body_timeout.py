"""A deadline for the body of every request, whatever its route.

A client that sends a byte now and then would otherwise hold a connection, its buffers and, on some
routes, a lock for as long as it likes. The deadline ends with the body; how long an answer takes
is not bounded here.
"""

from __future__ import annotations

from typing import Final

import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ANSWER: Final = "The body of the request did not arrive in time. Send it at once."


class BodyTimeoutError(Exception):
    """A request's body did not arrive in time."""


class BodyTimeout:
    """ASGI middleware: reading a body raises BodyTimeoutError once it takes too long."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; only HTTP has bodies."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        deadline = trio.current_time() + self._seconds
        is_whole = False

        async def receive_in_time() -> Message:
            nonlocal is_whole
            if is_whole:
                return await receive()
            with trio.move_on_at(deadline):
                message = await receive()
                is_whole = not message.get("more_body", False)
                return message
            raise BodyTimeoutError

        await self._app(scope, receive_in_time, send)


async def answer_late_body(_request: Request, _error: Exception) -> Response:
    """Answer 408; the connection ends with it, for the rest of the body would follow."""
    return JSONResponse({"error": ANSWER}, 408, {"connection": "close"})
