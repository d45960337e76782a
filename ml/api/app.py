"""The Starlette application: OpenAI's routes over an AnswerService.

Rules that hold here: an answer runs in one task from its first event to its last, and that task is
cancelled as soon as the client is gone, streamed or not; a refusal before the first event is an
HTTP error, a failure after it is an error event in the stream; bodies are bounded before they are
parsed; every error has OpenAI's shape.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final, TypeAlias

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ml.api.requests import BODY_BYTES_MAX, Question, RequestRefusedError, read_question
from ml.api.responses import (
    AnswerShape,
    JsonObject,
    error_object,
    model_object,
    refusal_object,
)
from ml.api.service import (
    AnswerEvent,
    AnswerRefusedError,
    AnswerService,
    Begun,
    Delta,
    Finished,
    ModelUnknownError,
)

VOUCHER_HEADER: Final = "x-openledger-voucher"
ATTRIBUTION_HEADER: Final = "x-openledger-attribution-id"
RETRY_SECONDS: Final = 1
INVALID: Final = "invalid_request_error"

Events: TypeAlias = AsyncIterator[AnswerEvent]

logger = logging.getLogger(__name__)


class AnswerIncompleteError(Exception):
    """The service broke its promise of Begun, Delta, Finished."""


def create_app(service: AnswerService) -> Starlette:
    """Return the application; run it with any ASGI server on trio."""
    routes = Routes(service)
    return Starlette(
        routes=[
            Route("/v1/models", routes.models, methods=["GET"]),
            Route("/v1/models/{model:path}", routes.model, methods=["GET"]),
            Route("/v1/completions", routes.completions, methods=["POST"]),
            Route("/v1/chat/completions", routes.chat_completions, methods=["POST"]),
            Route("/v1/attributions/{attribution}", routes.attribution, methods=["GET"]),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _server_error},
    )


class Routes:
    """The handlers, one per route."""

    def __init__(self, service: AnswerService) -> None:
        self._service = service

    async def models(self, _request: Request) -> Response:
        """List the models."""
        cards = [model_object(card) for card in await self._service.models()]
        return JSONResponse({"object": "list", "data": cards})

    async def model(self, request: Request) -> Response:
        """Describe one model."""
        name = str(request.path_params["model"])
        for card in await self._service.models():
            if card.id == name:
                return JSONResponse(model_object(card))
        return _refusal(ModelUnknownError(f"The model '{name[:256]}' does not exist."))

    async def attribution(self, request: Request) -> Response:
        """Return what an answer was made from."""
        name = str(request.path_params["attribution"])
        found = await self._service.attribution(name)
        if found is None:
            message = f"There is no attribution '{name[:256]}'."
            return _error(404, message, "attribution_not_found")
        return JSONResponse(found)

    async def completions(self, request: Request) -> Response:
        """Continue a prompt."""
        return await self._ask(request, is_chat=False)

    async def chat_completions(self, request: Request) -> Response:
        """Answer a chat."""
        return await self._ask(request, is_chat=True)

    async def _ask(self, request: Request, is_chat: bool) -> Response:
        data = await _body(request)
        if data is None:
            return _error(413, f"The body exceeds {BODY_BYTES_MAX} bytes. Shorten the question.")
        try:
            question = read_question(data, is_chat, request.headers.get(VOUCHER_HEADER))
        except RequestRefusedError as refusal:
            return _error(400, str(refusal), parameter=refusal.parameter)
        return AnswerResponse(self._service, question)


class AnswerResponse(Response):
    """Makes one answer while the client waits for it."""

    def __init__(self, service: AnswerService, question: Question) -> None:
        super().__init__()
        self._service = service
        self._question = question

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer over ASGI; stop when the client disconnects."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_disconnect, receive, nursery.cancel_scope)
            await self._answer(_Reply(scope, receive, send))
            nursery.cancel_scope.cancel()

    async def _answer(self, reply: _Reply) -> None:
        try:
            async with aclosing(self._service.answer(self._question.request)) as events:
                begun = await anext(events)
                if not isinstance(begun, Begun):
                    raise AnswerIncompleteError(f"an answer began with {type(begun).__name__}")
                shape = AnswerShape(
                    begun.attribution_id,
                    self._question.request.model,
                    int(time.time()),
                    self._question.is_chat,
                )
                send = self._stream if self._question.is_streamed else self._at_once
                await send(shape, events, reply)
        except AnswerRefusedError as refusal:
            await reply.fail(_refusal(refusal), refusal_object(refusal))
        except Exception:
            logger.exception("answer_failed model=%s", self._question.request.model)
            failure = _server_failure()
            await reply.fail(JSONResponse(failure, 500), failure)

    async def _at_once(self, shape: AnswerShape, events: Events, reply: _Reply) -> None:
        parts: list[str] = []
        async for event in events:
            if isinstance(event, Delta):
                parts.append(event.text)
            elif isinstance(event, Finished):
                body = shape.body("".join(parts), event)
                headers = {ATTRIBUTION_HEADER: shape.attribution_id}
                await reply.respond(JSONResponse(body, headers=headers))
                return
        raise AnswerIncompleteError("an answer ended without Finished")

    async def _stream(self, shape: AnswerShape, events: Events, reply: _Reply) -> None:
        await reply.open_stream(shape.attribution_id)
        opening = shape.opening()
        if opening is not None:
            await reply.event(opening)
        async for event in events:
            if isinstance(event, Delta):
                await reply.event(shape.delta(event.text))
            elif isinstance(event, Finished):
                for chunk in shape.closing(event, self._question.wants_usage):
                    await reply.event(chunk)
                await reply.close_stream()
                return
        raise AnswerIncompleteError("an answer ended without Finished")


class _Reply:
    """Sends one response: at once, or as server-sent events, of which it knows the state."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._is_streaming = False

    async def respond(self, response: Response) -> None:
        """Send a whole response."""
        await response(self._scope, self._receive, self._send)

    async def fail(self, response: Response, error: JsonObject) -> None:
        """Send an error: a response if nothing was sent yet, else the stream's last event."""
        if self._is_streaming:
            await self.event(error)
            await self.close_stream()
        else:
            await self.respond(response)

    async def open_stream(self, attribution_id: str) -> None:
        """Send the head of an event stream."""
        headers = {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
            ATTRIBUTION_HEADER: attribution_id,
        }
        raw = [(name.encode("latin-1"), text.encode("latin-1")) for name, text in headers.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})
        self._is_streaming = True

    async def event(self, content: JsonObject) -> None:
        """Send one event."""
        await self._bytes(json.dumps(content, ensure_ascii=False).encode())

    async def close_stream(self) -> None:
        """Send the mark that ends OpenAI's streams."""
        await self._bytes(b"[DONE]", more_body=False)

    async def _bytes(self, data: bytes, more_body: bool = True) -> None:
        body = b"data: " + data + b"\n\n"
        await self._send({"type": "http.response.body", "body": body, "more_body": more_body})


async def _cancel_on_disconnect(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
    scope.cancel()


async def _body(request: Request) -> bytes | None:
    """Return the body, or None when it is too long."""
    data = bytearray()
    async with aclosing(request.stream()) as parts:
        async for part in parts:
            data += part
            if len(data) > BODY_BYTES_MAX:
                return None
    return bytes(data)


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = _error(error.status_code, f"{error.detail}: check the address and the method.")
    response.headers.update(error.headers or {})
    return response


async def _server_error(_request: Request, _error: Exception) -> Response:
    return JSONResponse(_server_failure(), 500)


def _server_failure() -> JsonObject:
    return error_object("The server failed to answer. Ask again, or another node.", "server_error")


def _refusal(refusal: AnswerRefusedError) -> JSONResponse:
    headers = {"retry-after": str(RETRY_SECONDS)} if refusal.status == 429 else None
    return JSONResponse(refusal_object(refusal), refusal.status, headers)


def _error(
    status: int, message: str, code: str | None = None, parameter: str | None = None
) -> JSONResponse:
    return JSONResponse(error_object(message, INVALID, code, parameter), status)
