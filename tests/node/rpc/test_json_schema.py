"""Schemas made of schemas: what they allow and what they refuse."""

from __future__ import annotations

from jsonschema import Draft202012Validator

from node.rpc.json_schema import COUNT, HASH, HEX, Schema, list_of, nullable, one_of, record


def allows(schema: Schema, value: object) -> bool:
    return bool(Draft202012Validator(schema).is_valid(value))


def test_a_record_has_its_members_and_no_others() -> None:
    schema = record({"note": HEX}, height=COUNT)
    assert allows(schema, {"height": 1})
    assert allows(schema, {"height": 1, "note": "0x"})
    assert not allows(schema, {})
    assert not allows(schema, {"height": 1, "other": 1})
    assert not allows(schema, {"height": -1})


def test_lists_choices_and_null_are_of_what_they_are_made_of() -> None:
    assert allows(list_of(HASH), ["0x" + "00" * 32])
    assert not allows(list_of(HASH), ["0x00"])
    assert allows(nullable(HEX), None)
    assert not allows(nullable(HEX), "00")
    assert allows(one_of(COUNT, HEX), "0x00")
    assert not allows(one_of(COUNT, HEX), True)
