"""Errors that JSON-RPC callers read: one class for each cause, codes as in Substrate.

Source of the codes: JSON-RPC 2.0, jsonrpsee (-32005 to -32011), sc-rpc-api (1000 to 4999) and the
JSON-RPC interface specification (-32800 to -32804).
"""

from __future__ import annotations

from typing import Any, ClassVar

Json = None | bool | int | float | str | list[Any] | dict[str, Any]
"""Whatever JSON holds."""


class RpcError(Exception):
    """A call is answered by an error; the message is what the caller reads."""

    code: ClassVar[int] = -32603

    def __init__(self, message: str, data: Json = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data
        self.number = type(self).code


class ParseError(RpcError):
    """The request is no JSON."""

    code = -32700


class InvalidRequestError(RpcError):
    """The request is JSON, and no JSON-RPC 2.0 request."""

    code = -32600


class MethodNotFoundError(RpcError):
    """There is no such method, or not for this caller."""

    code = -32601


class InvalidParamsError(RpcError):
    """A parameter is missing or has the wrong form."""

    code = -32602


class InternalError(RpcError):
    """The node failed to answer; its log says why."""

    code = -32603


class TooManySubscriptionsError(RpcError):
    """The connection has as many subscriptions as it may."""

    code = -32006


class RequestTooBigError(RpcError):
    """The request has too many bytes or values."""

    code = -32007


class ResponseTooBigError(RpcError):
    """The answer would have too many bytes."""

    code = -32008


class BatchTooBigError(RpcError):
    """A batch has too many calls."""

    code = -32010


class ExtrinsicFormatError(RpcError):
    """An extrinsic does not decode."""

    code = 1001


class TransactionRejectedError(RpcError):
    """The pool does not take a transaction; code and data say why."""

    code = 1010

    def __init__(self, number: int, message: str, data: Json) -> None:
        super().__init__(message, data)
        self.number = number


class RuntimeCallError(RpcError):
    """A runtime API does not exist, or refuses its arguments."""

    code = 4003


class BlockRangeError(RpcError):
    """A range of blocks is empty, backwards or too long."""

    code = 4001


class CountTooBigError(RpcError):
    """More results are asked for at once than one answer may have."""

    code = 4002


class BlockUnavailableError(RpcError):
    """There is no such block, or its state is no longer kept."""

    code = 4003


class KeyRejectedError(RpcError):
    """A key cannot be stored, or its parts do not fit one another."""

    code = 1020


class TooManyFollowsError(RpcError):
    """The connection follows the chain's head as often as it may."""

    code = -32800


class BlockNotPinnedError(RpcError):
    """The block was never reported by this follow, or is unpinned."""

    code = -32801


class FollowWithoutRuntimeError(RpcError):
    """The follow was started without runtime, so it cannot call it."""

    code = -32802


class NotWaitingError(RpcError):
    """The operation does not wait for a continue."""

    code = -32803


class DuplicateHashesError(RpcError):
    """A hash is to be unpinned twice."""

    code = -32804
