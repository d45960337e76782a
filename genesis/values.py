"""JSON values to runtime values, by type hint: how people write the genesis of pallets.

Amounts may be written "10 OPEN" or as decimal text, accounts as addresses or //Alice, bytes as 0x
hex or as text, enum members by name, structs as objects whose missing fields take their default.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from typing import Any

from genesis.accounts import parse_account
from genesis.amounts import ValueTextError, parse_amount
from runtime.codec.shape import Enumeration, Fixed, Integer, ShapeError, shape_of
from runtime.types.primitives import AccountId

__all__ = ["ValueTextError", "parse_value"]


def parse_value(hint: Any, value: Any, place: str = "value") -> Any:
    """Return the runtime value that a JSON value stands for. Raises ValueTextError."""
    try:
        return _parse(hint, value, place)
    except ValueTextError:
        raise
    except (ValueError, TypeError, KeyError, ShapeError) as error:
        raise ValueTextError(f"{place}: {error}") from error


def _parse(hint: Any, value: Any, place: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is AccountId:
        if not isinstance(value, str):
            raise ValueTextError(f"{place}: an account as text is expected, not {value!r:.40}")
        return parse_account(value)
    if origin in (typing.Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not type(None))
        return None if value is None else parse_value(inner, value, place)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueTextError(f"{place}: a list is expected, not {value!r:.40}")
        variadic = len(arguments) == 2 and arguments[1] is Ellipsis
        hints = (arguments[0],) * len(value) if variadic else arguments
        if len(hints) != len(value):
            raise ValueTextError(f"{place}: {len(hints)} elements are expected, not {len(value)}")
        pairs = zip(hints, value, strict=True)
        return tuple(
            parse_value(inner, item, f"{place}[{i}]") for i, (inner, item) in enumerate(pairs)
        )
    if hint is bool:
        if not isinstance(value, bool):
            raise ValueTextError(f"{place}: true or false is expected")
        return value
    if hint is str:
        if not isinstance(value, str):
            raise ValueTextError(f"{place}: a text is expected")
        return value
    if isinstance(hint, type) and issubclass(hint, enum.IntEnum):
        if not isinstance(value, str) or value not in hint.__members__:
            raise ValueTextError(f"{place}: one of {', '.join(hint.__members__)} is expected")
        return hint[value]
    if isinstance(hint, type) and issubclass(hint, Enumeration) and "_index" not in vars(hint):
        return _parse_variant(hint, value, place)
    if dataclasses.is_dataclass(hint):
        return _parse_struct(hint, value, place)
    return _parse_scalar(hint, value, place)


def _parse_scalar(hint: Any, value: Any, place: str) -> Any:
    shape = shape_of(hint)
    if hint is bytes or isinstance(shape, Fixed):
        if not isinstance(value, str):
            raise ValueTextError(f"{place}: 0x hex or a text is expected")
        raw = bytes.fromhex(value[2:]) if value.startswith("0x") else value.encode()
        if isinstance(shape, Fixed) and len(raw) != shape.size:
            raise ValueTextError(f"{place}: {shape.size} bytes are expected, not {len(raw)}")
        return raw
    number = _amount(value, place) if isinstance(value, str) else value
    if not isinstance(number, int) or isinstance(number, bool):
        raise ValueTextError(f"{place}: a whole number is expected, not {value!r:.40}")
    bits = 8 * getattr(shape, "size", 0)
    signed = isinstance(shape, Integer) and shape.signed
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if signed else (0, 1 << bits)
    if not low <= number < high:
        raise ValueTextError(f"{place}: {number} does not fit {bits} bits")
    return number


def _amount(text: str, place: str) -> int:
    try:
        return parse_amount(text)
    except ValueTextError as error:
        raise ValueTextError(f"{place}: {error}") from error


def _parse_struct(cls: Any, value: Any, place: str) -> Any:
    if not isinstance(value, dict):
        raise ValueTextError(f"{place}: an object is expected, not {value!r:.40}")
    hints = typing.get_type_hints(cls, include_extras=True)
    names = {field.name.rstrip("_"): field.name for field in dataclasses.fields(cls)}
    unknown = sorted(set(value) - set(names))
    if unknown:
        raise ValueTextError(f"{place}: unknown {', '.join(unknown)}; there is {', '.join(names)}")
    given = {
        names[key]: parse_value(hints[names[key]], item, f"{place}.{key}")
        for key, item in value.items()
    }
    return cls(**given)


def _parse_variant(cls: Any, value: Any, place: str) -> Any:
    variants = {variant.__name__: variant for variant in cls._variants.values()}
    if isinstance(value, dict) and len(value) == 1:
        name, body = next(iter(value.items()))
    elif isinstance(value, str):
        name, body = value, {}
    else:
        raise ValueTextError(f"{place}: a variant as a name or an object of one member is expected")
    if name not in variants:
        raise ValueTextError(f"{place}: one of {', '.join(variants)} is expected, not {name!r}")
    return _parse_struct(variants[name], body, f"{place}.{name}")
