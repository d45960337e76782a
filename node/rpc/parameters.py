"""Parameters of calls: from JSON to the types that the methods declare, or InvalidParamsError.

A method's own annotations say how its parameters are read. Hexadecimal text is taken with and
without 0x; missing parameters take the declared default, and null counts as missing.
"""

from __future__ import annotations

import re
import string
import types
import typing
from collections.abc import Callable
from typing import Any, Final, NewType

from node.rpc.errors import InvalidParamsError
from node.rpc.errors import Json as Json
from node.rpc.json_schema import (
    ANYTHING,
    COUNT,
    HASH_GIVEN,
    HEX_GIVEN,
    HEX_U32,
    SIGNED,
    TEXT,
    TRUTH,
    Schema,
    list_of,
    nullable,
    one_of,
)
from runtime.crypto import ss58
from runtime.types.primitives import AccountId, Hash

HexBytes = NewType("HexBytes", bytes)
"""Bytes written as hexadecimal text."""

SubscriptionId = NewType("SubscriptionId", str)
"""The id that a subscribe call answered."""

REQUIRED: Final[Any] = object()
"""The default of a parameter that is required although it follows an optional one."""

Heights = NewType("Heights", object)
"""A height, or a list of heights: an int or a list[int]."""

HashOrHashes = NewType("HashOrHashes", tuple[Hash, ...])
"""One hash, or a list of hashes."""

HASH_BYTES: Final = 32
U32_MAX: Final = 2**32 - 1

Reader = Callable[[Json], Any]

_HEX_DIGITS: Final = re.compile("[0-9a-fA-F]{1,8}")


def read_bytes(value: Json) -> HexBytes:
    """Read hexadecimal text, 0x optional."""
    if not isinstance(value, str):
        raise InvalidParamsError("hexadecimal text expected")
    digits = value[2:] if value[:2] in ("0x", "0X") else value
    # fromhex would also accept white space, and says what is wrong in Python's words.
    if set(digits) - set(string.hexdigits):
        raise InvalidParamsError("hexadecimal text has the digits 0 to 9 and a to f alone")
    if len(digits) % 2:
        raise InvalidParamsError("hexadecimal text has two digits for each byte, so an even number")
    return HexBytes(bytes.fromhex(digits))


def read_hash(value: Json) -> Hash:
    """Read a hash of 32 bytes."""
    data = read_bytes(value)
    if len(data) != HASH_BYTES:
        raise InvalidParamsError(f"a hash has {HASH_BYTES} bytes, not {len(data)}")
    return Hash(data)


def read_number(value: Json) -> int:
    """Read an unsigned 32-bit number, in decimal or as hexadecimal text."""
    if isinstance(value, str) and value[:2] == "0x":
        if _HEX_DIGITS.fullmatch(value, 2) is None:  # int() would also take 0x1_0 and 0x+1
            raise InvalidParamsError("no hexadecimal number of at most 32 bits")
        value = int(value[2:], 16)
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


def read_heights(value: Json) -> Heights:
    """Read a height or a list of heights."""
    if isinstance(value, list):
        return Heights([read_number(height) for height in value])
    return Heights(read_number(value))


def read_hash_or_hashes(value: Json) -> HashOrHashes:
    """Read a hash or a list of hashes."""
    entries = value if isinstance(value, list) else [value]
    return HashOrHashes(tuple(read_hash(entry) for entry in entries))


def _read_anything(value: Json) -> Json:
    return value


_READERS: Final[dict[Any, Reader]] = {
    HexBytes: read_bytes,
    Hash: read_hash,
    AccountId: read_account,
    SubscriptionId: read_subscription,
    Heights: read_heights,
    HashOrHashes: read_hash_or_hashes,
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


_NUMBER: Final = one_of({**COUNT, "maximum": U32_MAX}, HEX_U32)
_SCHEMAS: Final[dict[Any, Schema]] = {
    HexBytes: HEX_GIVEN,
    Hash: HASH_GIVEN,
    AccountId: TEXT,
    SubscriptionId: one_of(TEXT, SIGNED),
    Heights: one_of(_NUMBER, list_of(_NUMBER)),
    HashOrHashes: one_of(HASH_GIVEN, list_of(HASH_GIVEN)),
    int: _NUMBER,
    str: TEXT,
    bool: TRUTH,
    Json: ANYTHING,
}


def schema_of(hint: Any) -> Schema:
    """Return the schema of what a parameter of this type is read from."""
    schema = _SCHEMAS.get(hint)
    if schema is not None:
        return schema
    element = schema_of(typing.get_args(hint)[0])
    return list_of(element) if typing.get_origin(hint) is list else nullable(element)


def is_optional(hint: Any) -> bool:
    """Return whether null is a value of the type."""
    return hint == Json or type(None) in typing.get_args(hint)


def _list_reader(element: Reader) -> Reader:
    def read(value: Json) -> list[Any]:
        if not isinstance(value, list):
            raise InvalidParamsError("a list expected")
        return [element(item) for item in value]

    return read
