"""The documents that commands print: frozen dataclasses whose hints give JSON and JSON Schema.

One declaration gives the object on stdout, the table on a terminal and the published schema, so
they cannot drift apart. Amounts are in planck; as they exceed what JSON numbers hold exactly, they
are decimal texts. `python -m node.commands.catalogue` writes the schemas again.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any, Final, NewType

Planck = NewType("Planck", int)
"""An amount; a decimal text in JSON, OPEN in tables."""


class Amount(str):
    """An amount within `Fields`, as its type in the runtime says: planck as a decimal text."""

    __slots__ = ()


Identifier = NewType("Identifier", int)
"""A number that names something, such as a process; tables show its plain digits."""

Fields = Mapping[str, Any]
"""Names and values that the chain's runtime describes, such as an event's."""

SCHEMA_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_SCALARS: Final = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    Identifier: "integer",
}


def hints_of(document: type) -> dict[str, Any]:
    """Return the fields of a document and their hints, in order."""
    hints = typing.get_type_hints(document)
    return {field.name: hints[field.name] for field in dataclasses.fields(document)}


def to_json(value: Any, hint: Any = None) -> Any:
    """Return a document, or a value of one, as JSON values."""
    hint = type(value) if hint is None else hint
    if value is None or is_fields(hint):
        return value
    if hint is Planck:
        return str(value)
    if dataclasses.is_dataclass(value):
        hints = hints_of(type(value))
        return {
            name: to_json(getattr(value, name), field_hint) for name, field_hint in hints.items()
        }
    inner = item_hint(hint)
    if inner is not None:
        return [to_json(item, inner) for item in value]
    optional = optional_hint(hint)
    return value if optional is None else to_json(value, optional)


def schema_of(*documents: type) -> dict[str, Any]:
    """Return the JSON Schema of a command that prints one of these documents."""
    bodies = [_schema(document) for document in documents]
    body = bodies[0] if len(bodies) == 1 else {"oneOf": bodies}
    return {"$schema": SCHEMA_DIALECT, **body}


def is_fields(hint: Any) -> bool:
    """Return whether a hint is that of names and values."""
    return typing.get_origin(hint) is Mapping or hint is Fields


def item_hint(hint: Any) -> Any:
    """Return the hint of the items of a tuple of any length, None for other hints."""
    arguments = typing.get_args(hint)
    is_list = typing.get_origin(hint) is tuple and arguments[1:] == (Ellipsis,)
    return arguments[0] if is_list else None


def optional_hint(hint: Any) -> Any:
    """Return what may be absent, None for hints of values that are always there."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return None
    return next(argument for argument in typing.get_args(hint) if argument is not type(None))


def _schema(hint: Any) -> dict[str, Any]:
    if hint is Planck:
        return {"type": "string", "pattern": "^-?[0-9]+$", "description": "planck, 10^-18 OPEN"}
    if hint in _SCALARS:
        return {"type": _SCALARS[hint]}
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        return {"type": "string", "enum": [str(member) for member in hint]}
    if is_fields(hint):
        return {"type": "object"}
    inner, optional = item_hint(hint), optional_hint(hint)
    if inner is not None:
        return {"type": "array", "items": _schema(inner)}
    if optional is not None:
        return {"anyOf": [_schema(optional), {"type": "null"}]}
    assert dataclasses.is_dataclass(hint), f"{hint} has no place in a document"
    hints = hints_of(typing.cast(type, hint))
    return {
        "type": "object",
        # Python 3.13 strips the indentation itself, older ones leave it.
        "description": inspect.cleandoc(typing.cast(type, hint).__doc__ or ""),
        "properties": {name: _schema(field_hint) for name, field_hint in hints.items()},
        "required": list(hints),
        "additionalProperties": False,
    }
