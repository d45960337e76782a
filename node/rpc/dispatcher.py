"""JSON-RPC 2.0: from the text of a request to the text of its answer. Knows nothing of sockets.

A request without `id` is a notification and is never answered; a batch is answered by one array,
or by one error when it is empty or too long. Whatever a method raises becomes an error answer; what
is not an RpcError is logged and answered as an internal error without its details.
Source: https://www.jsonrpc.org/specification
"""

from __future__ import annotations

import inspect
import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import trio
from prometheus_client import Counter, Histogram

from node.operations.metrics import Metrics
from node.rpc.errors import (
    BatchTooBigError,
    InternalError,
    InvalidParamsError,
    InvalidRequestError,
    MethodNotFoundError,
    ParseError,
    RequestTooBigError,
    ResponseTooBigError,
    RpcError,
)
from node.rpc.methods import Method
from node.rpc.parameters import Json
from node.rpc.session import Session

logger = logging.getLogger(__name__)

UNKNOWN_METHOD: Final = "unknown"
READ_AT_ONCE_MAX: Final = 4_096
"""A text of at most this length is read in less time than a turn takes."""


class NotUnicodeError(Exception):
    """A request is JSON, and holds half of a surrogate pair."""

    def __init__(self, request_id: Json) -> None:
        super().__init__()
        self.request_id = request_id


@dataclass(frozen=True, slots=True)
class _Meter:
    """The metrics of one method."""

    calls: Counter
    errors: Counter
    time: Histogram


def _count_values(text: str | bytes) -> int:
    """Return no fewer than the values of a JSON text, without reading it; commas and brackets in
    strings count too."""
    if isinstance(text, bytes):
        return sum(text.count(mark) for mark in (b",", b"[", b"{"))
    return sum(text.count(mark) for mark in (",", "[", "{"))


class Dispatcher:
    """Answers requests from a table of methods."""

    def __init__(self, methods: Mapping[str, Method], metrics: Metrics) -> None:
        self._methods = methods
        self._metrics = metrics
        self._meters: dict[str, _Meter] = {}

    async def answer(self, text: str | bytes, session: Session) -> str | None:
        """Return the answer to a request or batch, None where there is nothing to answer."""
        if len(text) > session.limits.request_bytes:
            limit = session.limits.request_bytes
            return _failure(None, RequestTooBigError(f"A request has at most {limit} bytes."))
        if _count_values(text) > session.limits.request_values:
            limit = session.limits.request_values
            return _failure(None, RequestTooBigError(f"A request has at most {limit} values."))
        try:
            if len(text) > READ_AT_ONCE_MAX:
                async with session.shares.turn:
                    request = _read_json(text)
            else:
                request = _read_json(text)
        except NotUnicodeError as error:
            message = "A text of the request holds half of a surrogate pair."
            return _failure(error.request_id, InvalidRequestError(message))
        except RecursionError:
            return _failure(None, ParseError("The request is nested too deeply."))
        except ValueError as error:
            return _failure(None, ParseError(f"The request is no JSON: {error}."[:200]))
        if isinstance(request, list):
            return await self._answer_batch(request, session)
        return await self._answer_one(request, session)

    async def _answer_batch(self, requests: list[Json], session: Session) -> str | None:
        limits = session.limits
        if not requests:
            return _failure(None, InvalidRequestError("A batch holds at least one request."))
        if len(requests) > limits.batch_calls:
            message = f"A batch holds at most {limits.batch_calls} requests. Send several."
            return _failure(None, BatchTooBigError(message))
        answers: list[str] = []
        size = 0
        for request in requests:
            answer = await self._answer_one(request, session)
            # Every request of a batch yields to the other clients.
            await trio.lowlevel.checkpoint()
            if answer is None:
                continue
            size += len(answer)
            if size > limits.response_bytes:
                message = "The answers of the batch are too big. Send smaller batches."
                return _failure(None, ResponseTooBigError(message))
            answers.append(answer)
        return "[" + ",".join(answers) + "]" if answers else None

    async def _answer_one(self, request: Json, session: Session) -> str | None:
        try:
            name, params, is_notification, request_id = _envelope(request)
        except RpcError as error:
            return _failure(_id_of(request), error)
        answer = await self._answer_call(name, params, request_id, session)
        return None if is_notification else answer

    async def _answer_call(
        self, name: str, params: Json, request_id: Json, session: Session
    ) -> str:
        method = self._methods.get(name)
        label = UNKNOWN_METHOD if method is None else name
        meter = self._meter(label)
        started = trio.current_time()
        try:
            if method is None:
                raise MethodNotFoundError(
                    f"There is no method {name[:80] or repr(name)}. See rpc_methods."
                )
            if method.is_local and not session.is_local:
                raise MethodNotFoundError(
                    f"{name} is answered to callers on the node's own machine alone, "
                    "while it listens on loopback."
                )
            if not isinstance(params, list | dict):
                raise InvalidParamsError("The params of a request are an array or an object.")
            async with session.shares.turn:
                result = method.call(params, session)
                if not inspect.isawaitable(result):
                    return _bounded(request_id, _success(request_id, result), session)
            # Whoever waits takes a turn for each piece of its work, and none while it waits.
            value = await result
            async with session.shares.turn:
                text = _success(request_id, value)
        except RpcError as error:
            meter.errors.inc()
            return _failure(request_id, error)
        except Exception:
            logger.exception("call-failed method=%s peer=%s", label, session.peer)
            meter.errors.inc()
            return _failure(
                request_id, InternalError("The node failed to answer. Its log says why.")
            )
        finally:
            meter.calls.inc()
            meter.time.observe(trio.current_time() - started)
        return _bounded(request_id, text, session)

    def _meter(self, label: str) -> _Meter:
        # Kept: finding series by their labels takes longer than most answers.
        meter = self._meters.get(label)
        if meter is None:
            metrics = self._metrics
            meter = self._meters[label] = _Meter(
                metrics.rpc_calls.labels(method=label),
                metrics.rpc_errors.labels(method=label),
                metrics.rpc_time.labels(method=label),
            )
        return meter


def _envelope(request: Json) -> tuple[str, Json, bool, Json]:
    """Return (method, params, is it a notification, id). Raises RpcError."""
    if not isinstance(request, dict):
        raise InvalidRequestError("A request is an object.")
    if request.get("jsonrpc") != "2.0":
        raise InvalidRequestError('A request says "jsonrpc": "2.0".')
    if not _is_id(request.get("id")):
        raise InvalidRequestError("The id of a request is null, a number or a text.")
    name, params = request.get("method"), request.get("params")
    if not isinstance(name, str):
        raise InvalidRequestError("The method of a request is a text.")
    return name, [] if params is None else params, "id" not in request, request.get("id")


def _is_id(value: Json) -> bool:
    if isinstance(value, float):
        # 1e999 reads as infinity, which cannot be written back.
        return math.isfinite(value)
    return value is None or (isinstance(value, int | str) and not isinstance(value, bool))


def _id_of(request: Json) -> Json:
    """The id of an invalid request, where it has one that can be repeated."""
    request_id = request.get("id") if isinstance(request, dict) else None
    return request_id if _is_id(request_id) else None


def _read_json(text: str | bytes) -> Json:
    """Read a JSON text in any of its encodings. Raises NotUnicodeError, ValueError,
    RecursionError."""
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    value: Json = _DECODER.decode(text)
    if _MAY_BE_HALF_A_PAIR.search(text):
        _check_unicode(value)
    return value


def _check_unicode(request: Json) -> None:
    """Refuse texts that have no encoding, before a method meets them. Raises NotUnicodeError."""
    try:
        _UNICODE_ENCODER.encode(request).encode()
    except UnicodeEncodeError as error:
        raise NotUnicodeError(_id_of(request)) from error


def _success(request_id: Json, result: Json) -> str:
    return _ENCODER.encode({"jsonrpc": "2.0", "id": request_id, "result": result})


def _bounded(request_id: Json, text: str, session: Session) -> str:
    """Return an answer, or the error in its place where it is too big."""
    if len(text) > session.limits.response_bytes:
        return _failure(request_id, ResponseTooBigError("The answer is too big. Ask for less."))
    return text


def _failure(request_id: Json, error: RpcError) -> str:
    body: dict[str, Json] = {"code": error.number, "message": error.message}
    if error.data is not None:
        body["data"] = error.data
    return _ENCODER.encode({"jsonrpc": "2.0", "id": request_id, "error": body})


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is no JSON number")


# Made once: json.loads and json.dumps make new ones for each text when given options.
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))
_UNICODE_ENCODER: Final = json.JSONEncoder(ensure_ascii=False)
_MAY_BE_HALF_A_PAIR: Final = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
"""Escapes of surrogates, of which a pair is one character, and surrogates as they are."""
