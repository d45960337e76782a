from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import pytest

from cli import COMMANDS
from node.commands.catalogue import FOLDER, commands, schemas
from tests.node.commands.support.calling import OpenLedger

SCHEMAS: Final = schemas()
KINDS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list,
    "object": dict, "null": type(None),
}  # fmt: skip


def fits(schema: Mapping[str, Any], value: Any) -> bool:
    """Check a value against the part of JSON Schema that our schemas use."""
    if "oneOf" in schema:
        return sum(fits(choice, value) for choice in schema["oneOf"]) == 1
    if "anyOf" in schema:
        return any(fits(choice, value) for choice in schema["anyOf"])
    if not isinstance(value, KINDS[schema["type"]]):
        return False
    if schema["type"] == "array":
        return all(fits(schema["items"], item) for item in value)
    if "properties" in schema:
        properties = schema["properties"]
        return set(value) == set(schema["required"]) == set(properties) and all(
            fits(properties[name], value[name]) for name in value
        )
    return True


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_the_published_schema_is_that_of_the_command(name: str) -> None:
    path = FOLDER / f"{name}.json"
    assert path.is_file(), "write it with: python -m node.commands.catalogue"
    assert json.loads(path.read_text(encoding="utf-8")) == SCHEMAS[name], (
        "write it again with: python -m node.commands.catalogue"
    )


def test_no_schema_is_left_of_a_command_that_is_gone() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(SCHEMAS)


def test_every_command_of_the_table_exists_and_has_help(openledger: OpenLedger) -> None:
    for name in COMMANDS:
        called = openledger(name, "--help")
        assert called.exit_code == 0, called.err


def test_every_command_prints_documented_json() -> None:
    undocumented = {
        words for words, command in commands() if not hasattr(command.callback, "documents")
    }
    assert undocumented == {"completion"}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("status", ("status",)),
        ("account-balance", ("account", "balance", "//Alice")),
        ("account-list", ("account", "list")),
        ("account-transfer", ("account", "transfer", "//Bob", "1", "--from", "//Alice")),
        (
            "account-transfer",
            ("account", "transfer", "//Bob", "1", "--from", "//Alice", "--dry-run"),
        ),
        ("tx", ("tx", "system", "remark", "--remark", "hello", "--from", "//Alice")),
        ("chain-info", ("chain", "info")),
        ("chain-block", ("chain", "block")),
        ("key-list", ("key", "list")),
        ("key-inspect", ("key", "inspect", "//Alice")),
        ("datanet-list", ("datanet", "list")),
        ("datanet-earnings", ("datanet", "earnings", "//Bob")),
        ("model-list", ("model", "list")),
        ("earnings", ("earnings", "//Bob")),
    ],
)
def test_what_a_command_prints_fits_its_schema(
    openledger: OpenLedger, schema: str, words: tuple[str, ...]
) -> None:
    assert fits(SCHEMAS[schema], openledger.json(*words))


def test_what_a_failing_command_prints_fits_its_schema(openledger: OpenLedger) -> None:
    called = openledger("account", "balance", "garbage", "--json")
    assert called.exit_code == 2
    assert fits(SCHEMAS["error"], called.document)


def test_schemas_refuse_what_they_do_not_describe() -> None:
    schema = SCHEMAS["earnings"]
    good = {"account": "a", "claimable_planck": "1", "earned_in_all_planck": "2"}
    assert fits(schema, good)
    assert not fits(schema, {**good, "more": 1})
    assert not fits(schema, {**good, "claimable_planck": 1})
