"""Parameters of calls: from JSON to the types that the methods declare, or InvalidParamsError.

A method's own annotations say how its parameters are read. Hexadecimal text is taken with and
without 0x; missing parameters take the declared default, null counts as missing, and what follows
the declared ones is ignored, as Substrate does.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from typing import Any, Final, NewType

from node.rpc.errors import InvalidParamsError
from node.rpc.errors import Json as Json
from runtime.crypto import ss58
from runtime.types.primitives import AccountId, Hash

HexBytes = NewType("HexBytes", bytes)
"""Bytes written as hexadecimal text."""

SubscriptionId = NewType("SubscriptionId", str)
"""The id that a subscribe call answered."""

HASH_BYTES: Final = 32
U32_MAX: Final = 2**32 - 1

Reader = Callable[[Json], Any]


def read_bytes(value: Json) -> HexBytes:
    """Read hexadecimal text, 0x optional."""
    if not isinstance(value, str):
        raise InvalidParamsError("hexadecimal text expected")
    digits = value[2:] if value[:2] in ("0x", "0X") else value
    # fromhex itself would also accept white space.
    if not digits.isascii() or (digits and not digits.isalnum()):
        raise InvalidParamsError("hexadecimal text has the digits 0 to 9 and a to f alone")
    try:
        return HexBytes(bytes.fromhex(digits))
    except ValueError as error:
        raise InvalidParamsError(f"no hexadecimal text: {error}") from error


def read_hash(value: Json) -> Hash:
    """Read a hash of 32 bytes."""
    data = read_bytes(value)
    if len(data) != HASH_BYTES:
        raise InvalidParamsError(f"a hash has {HASH_BYTES} bytes, not {len(data)}")
    return Hash(data)


def read_number(value: Json) -> int:
    """Read an unsigned 32-bit number, in decimal or as hexadecimal text."""
    if isinstance(value, str) and value[:2] == "0x":
        try:
            value = int(value[2:], 16)
        except ValueError as error:
            raise InvalidParamsError("no hexadecimal number") from error
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= U32_MAX:
        raise InvalidParamsError("a number from 0 to 4294967295 expected")
    return value


def read_account(value: Json) -> AccountId:
    """Read an account from its SS58 address of any network, or from its hexadecimal public key."""
    text = read_text(value)
    if text.startswith("0x"):
        return AccountId(read_hash(text))
    try:
        return AccountId(ss58.decode(text))
    except ss58.AddressError as error:
        raise InvalidParamsError(str(error)) from error


def read_text(value: Json) -> str:
    """Read a text that can be encoded."""
    if not isinstance(value, str) or not value.isprintable():
        raise InvalidParamsError("text expected")
    return value


def read_truth(value: Json) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise InvalidParamsError("true or false expected")
    return value


def read_subscription(value: Json) -> SubscriptionId:
    """Read the id of a subscription; numbers are taken for the clients that make them of it."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidParamsError("the id of a subscription expected")
    return SubscriptionId(str(value))


def _read_anything(value: Json) -> Json:
    return value


_READERS: Final[dict[Any, Reader]] = {
    HexBytes: read_bytes,
    Hash: read_hash,
    AccountId: read_account,
    SubscriptionId: read_subscription,
    int: read_number,
    str: read_text,
    bool: read_truth,
    Json: _read_anything,
}


def reader_of(hint: Any) -> Reader:
    """Return what reads a parameter of this type; TypeError for types that JSON-RPC has not."""
    reader = _READERS.get(hint)
    if reader is not None:
        return reader
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType) and arguments[1:] == (
        type(None),
    ):
        return reader_of(arguments[0])
    if typing.get_origin(hint) is list:
        return _list_reader(reader_of(arguments[0]))
    raise TypeError(f"no reader for parameters of type {hint}")


def is_optional(hint: Any) -> bool:
    """Return whether null is a value of the type."""
    return hint == Json or type(None) in typing.get_args(hint)


def _list_reader(element: Reader) -> Reader:
    def read(value: Json) -> list[Any]:
        if not isinstance(value, list):
            raise InvalidParamsError("a list expected")
        return [element(item) for item in value]

    return read
