"""The part of JSON Schema in which parameters and results are described."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Schema = dict[str, Any]

ANYTHING: Final[Schema] = {}
OBJECT: Final[Schema] = {"type": "object"}
NULL: Final[Schema] = {"type": "null"}
TRUTH: Final[Schema] = {"type": "boolean"}
TEXT: Final[Schema] = {"type": "string"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
SIGNED: Final[Schema] = {"type": "integer"}
HEX: Final[Schema] = {"type": "string", "pattern": "^0x([0-9a-f]{2})*$"}
HASH: Final[Schema] = {"type": "string", "pattern": "^0x[0-9a-f]{64}$"}
HEX_GIVEN: Final[Schema] = {"type": "string", "pattern": "^(0[xX])?([0-9a-fA-F]{2})*$"}
HASH_GIVEN: Final[Schema] = {"type": "string", "pattern": "^(0[xX])?[0-9a-fA-F]{64}$"}
HEX_U32: Final[Schema] = {"type": "string", "pattern": "^0x[0-9a-fA-F]{1,8}$"}
HEX_NUMBER: Final[Schema] = {"type": "string", "pattern": "^0x[0-9a-f]+$"}
DECIMAL: Final[Schema] = {"type": "string", "pattern": "^[0-9]+$"}
SUBSCRIPTION: Final[Schema] = {"type": "string", "minLength": 1}


def list_of(schema: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": schema}


def nullable(schema: Schema) -> Schema:
    """Return the schema of a value or null."""
    return {"anyOf": [schema, NULL]}


def one_of(*schemas: Schema) -> Schema:
    """Return the schema of a value of one of several shapes."""
    return {"anyOf": list(schemas)}


def record(optional: Mapping[str, Schema] | None = None, /, **members: Schema) -> Schema:
    """Return the schema of an object with these members and no others."""
    return {
        "type": "object",
        "properties": {**members, **(optional or {})},
        "required": list(members),
        "additionalProperties": False,
    }


def constant(value: str) -> Schema:
    """Return the schema of one text."""
    return {"const": value}
