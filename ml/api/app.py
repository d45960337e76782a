"""The Starlette application: OpenAI's routes over an AnswerService.

Rules that hold here: an answer runs in one task from its first event to its last, and that task is
cancelled as soon as the client disconnects, streamed or not; a refusal before the first event is an
HTTP error, a failure after it is an error event in the stream; bodies are bounded before they are
parsed, and not read at all from an address that was refused too often. `ml.api.responses` builds
every document; here are status codes, headers and order.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import Final, TypeAlias

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ml.api.refusal_limit import RefusalLimit
from ml.api.requests import (
    BODY_BYTES_MAX,
    Question,
    RequestMalformedError,
    read_hex,
    read_question,
)
from ml.api.responses import (
    STREAM_END,
    AnswerShape,
    JsonObject,
    invalid_request,
    model_list,
    model_object,
    refusal_object,
    server_failure,
    stream_event,
)
from ml.api.service import (
    AnswerEvent,
    AnswerRefusedError,
    AnswerService,
    Begun,
    Delta,
    Finished,
    ModelUnknownError,
    ServiceBusyError,
)
from runtime.codec.hexadecimal import to_hex

VOUCHER_HEADER: Final = "x-openledger-voucher"
SALT_HEADER: Final = "x-openledger-salt"
ATTRIBUTION_HEADER: Final = "x-openledger-attribution-id"
RETRY_SECONDS: Final = 1
CHANNEL_DIGITS_MAX: Final = 10

Events: TypeAlias = AsyncIterator[AnswerEvent]

logger = logging.getLogger(__name__)


class AnswerIncompleteError(Exception):
    """The service broke the order Begun, Delta, Finished."""


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
            Route("/v1/channels/{channel}/receipt", routes.channel_receipt, methods=["GET"]),
        ],
        exception_handlers={HTTPException: http_error, Exception: server_error},
    )


class Routes:
    """The handlers, one per route."""

    def __init__(self, service: AnswerService) -> None:
        self._service = service
        self._refusals = RefusalLimit()

    async def models(self, _request: Request) -> Response:
        """List the models."""
        return JSONResponse(model_list(await self._service.models()))

    async def model(self, request: Request) -> Response:
        """Describe one model."""
        name = str(request.path_params["model"])
        for card in await self._service.models():
            if card.id == name:
                return JSONResponse(model_object(card))
        return _refusal(ModelUnknownError(f"The model '{name[:256]}' does not exist."))

    async def attribution(self, request: Request) -> Response:
        """Return the attribution of an answer; with its texts for who knows their salt."""
        name = str(request.path_params["attribution"])
        salt = request.headers.get(SALT_HEADER)
        try:
            secret = None if salt is None else read_hex("salt", salt)
        except RequestMalformedError as refusal:
            return _error(400, str(refusal), parameter=refusal.parameter)
        attribution = await self._service.attribution(name, secret)
        if attribution is None:
            message = f"There is no attribution '{name[:256]}'."
            return _error(404, message, "attribution_not_found")
        return JSONResponse(attribution)

    async def channel_receipt(self, request: Request) -> Response:
        """Return the last receipt of a channel, for an asker who has lost its books."""
        name = str(request.path_params["channel"])
        is_number = name.isascii() and name.isdecimal() and len(name) <= CHANNEL_DIGITS_MAX
        number = int(name) if is_number else None
        receipt = None if number is None else await self._service.channel_receipt(number)
        if receipt is None:
            return _error(404, f"Channel '{name[:256]}' has no receipt here.", "receipt_not_found")
        return JSONResponse({"signed_receipt": to_hex(receipt)})

    async def completions(self, request: Request) -> Response:
        """Continue a prompt."""
        return await self._respond_to_question(request, is_chat=False)

    async def chat_completions(self, request: Request) -> Response:
        """Answer a chat."""
        return await self._respond_to_question(request, is_chat=True)

    async def _respond_to_question(self, request: Request, is_chat: bool) -> Response:
        address = request.client.host if request.client else ""
        wait_s = self._refusals.seconds_to_wait(address)
        if wait_s:
            return _too_often_refused(wait_s)
        data = await _body(request)
        if data is None:
            self._refusals.add(address)
            return _error(413, f"The body exceeds {BODY_BYTES_MAX} bytes. Shorten the question.")
        try:
            headers = request.headers
            question = read_question(
                data, is_chat, headers.get(VOUCHER_HEADER), headers.get(SALT_HEADER)
            )
        except RequestMalformedError as refusal:
            self._refusals.add(address)
            return _error(400, str(refusal), parameter=refusal.parameter)
        return AnswerResponse(self._service, question, partial(self._refusals.add, address))


class AnswerResponse(Response):
    """Generates one answer while the client waits for it."""

    def __init__(
        self, service: AnswerService, question: Question, note_refusal: Callable[[], None]
    ) -> None:
        super().__init__()
        self._service = service
        self._question = question
        self._note_refusal = note_refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer over ASGI; stop when the client disconnects."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_disconnect, receive, nursery.cancel_scope)
            await self._send_answer(_Reply(scope, receive, send))
            nursery.cancel_scope.cancel()

    async def _send_answer(self, reply: _Reply) -> None:
        try:
            async with aclosing(self._service.stream_answer(self._question.request)) as events:
                begun = await anext(events)
                if not isinstance(begun, Begun):
                    raise AnswerIncompleteError(f"an answer began with {type(begun).__name__}")
                shape = AnswerShape(
                    attribution_id=begun.attribution_id,
                    model=self._question.request.model,
                    created=int(time.time()),
                    is_chat=self._question.is_chat,
                )
                send = self._send_stream if self._question.is_streamed else self._send_whole
                await send(shape, events, reply)
        except AnswerRefusedError as refusal:
            if not isinstance(refusal, ServiceBusyError):
                self._note_refusal()
            await reply.send_error(_refusal(refusal), refusal_object(refusal))
        except Exception:
            logger.exception("answer_failed model=%s", self._question.request.model)
            failure = server_failure()
            await reply.send_error(JSONResponse(failure, 500), failure)

    async def _send_whole(self, shape: AnswerShape, events: Events, reply: _Reply) -> None:
        parts: list[str] = []
        async for event in events:
            if isinstance(event, Delta):
                parts.append(event.text)
            elif isinstance(event, Finished):
                body = shape.body("".join(parts), event)
                headers = {ATTRIBUTION_HEADER: shape.attribution_id}
                await reply.send_response(JSONResponse(body, headers=headers))
                return
        raise AnswerIncompleteError("an answer ended without Finished")

    async def _send_stream(self, shape: AnswerShape, events: Events, reply: _Reply) -> None:
        await reply.open_stream(shape.attribution_id)
        opening = shape.opening()
        if opening is not None:
            await reply.send_event(opening)
        async for event in events:
            if isinstance(event, Delta):
                await reply.send_event(shape.delta(event.text))
            elif isinstance(event, Finished):
                for chunk in shape.closing(event, self._question.wants_usage):
                    await reply.send_event(chunk)
                await reply.close_stream()
                return
        raise AnswerIncompleteError("an answer ended without Finished")


class _Reply:
    """Sends one response, whole or as server-sent events, and knows whether a stream is open."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._is_streaming = False

    async def send_response(self, response: Response) -> None:
        """Send a whole response."""
        await response(self._scope, self._receive, self._send)

    async def send_error(self, response: Response, error: JsonObject) -> None:
        """Send an error: a response if nothing was sent yet, else the stream's last event."""
        if self._is_streaming:
            await self.send_event(error)
            await self.close_stream()
        else:
            await self.send_response(response)

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

    async def send_event(self, document: JsonObject) -> None:
        """Send one event of an open stream."""
        await self._send_body(stream_event(document), more_body=True)

    async def close_stream(self) -> None:
        """Send the end of the stream."""
        await self._send_body(STREAM_END, more_body=False)

    async def _send_body(self, body: bytes, more_body: bool) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more_body})


async def _cancel_on_disconnect(receive: Receive, scope: trio.CancelScope) -> None:
    # Without this a client that goes away would still occupy a lane of the engine until its end.
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


async def http_error(_request: Request, error: Exception) -> Response:
    """Answer what no route takes: unknown paths 404, known ones by another method 405."""
    assert isinstance(error, HTTPException)
    response = _error(error.status_code, f"{error.detail}: check the address and the method.")
    response.headers.update(error.headers or {})
    return response


async def server_error(_request: Request, _error: Exception) -> Response:
    """Answer a failure of the server's own without its details."""
    return JSONResponse(server_failure(), 500)


def _refusal(refusal: AnswerRefusedError) -> JSONResponse:
    headers = {"retry-after": str(RETRY_SECONDS)} if refusal.status == 429 else None
    return JSONResponse(refusal_object(refusal), refusal.status, headers)


def _too_often_refused(wait_s: float) -> JSONResponse:
    seconds = math.ceil(wait_s)
    refusal = ServiceBusyError(
        f"Too many requests from this address were refused. Ask again in {seconds} s, with a "
        "voucher that pays for the answer."
    )
    headers = {"retry-after": str(seconds), "connection": "close"}
    return JSONResponse(refusal_object(refusal), refusal.status, headers)


def _error(
    status: int, message: str, code: str | None = None, parameter: str | None = None
) -> JSONResponse:
    return JSONResponse(invalid_request(message, code, parameter), status)
