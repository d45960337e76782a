"""The settings of a node as texts: a file to begin with, and each setting with its source."""

from __future__ import annotations

import dataclasses
import enum
import json
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from node.operations.config import ENVIRONMENT_PREFIX, NodeConfig, read_file
from runtime.metadata.attribute_docs import attribute_docs

DEFAULT: Final = "default"
HEAD: Final = """\
# Settings of an OpenLedger node, each with its default. Remove the # of a line and change it.
# `openledger node start --config THIS-FILE` reads them; variables such as OPENLEDGER_RPC_PORT win
# over the file, and flags over both. `openledger config check --config THIS-FILE` checks it.
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting: its value, and where that comes from: default, a file, or a variable."""

    name: str
    value: str
    source: str


def settings_of(
    config: NodeConfig, file: Path | None, environment: Mapping[str, str]
) -> Iterator[Setting]:
    """Yield every setting of a configuration that was loaded from these sources."""
    in_file = read_file(file) if file is not None else {}
    for field in dataclasses.fields(NodeConfig):
        variable = ENVIRONMENT_PREFIX + field.name.upper()
        source = str(file) if field.name in in_file else DEFAULT
        source = variable if variable in environment else source
        yield Setting(field.name, toml_of(getattr(config, field.name)), source)


def template(config: NodeConfig, sentences: Mapping[str, str]) -> str:
    """Return a file of all settings, each commented out below the sentence that describes it.

    Sentences of settings that have no docstring are in `sentences`.
    """
    docs, hints = attribute_docs(NodeConfig), typing.get_type_hints(NodeConfig)
    parts = [HEAD]
    for field in dataclasses.fields(NodeConfig):
        sentence = docs.get(field.name) or sentences.get(field.name, "")
        hint = hints[field.name]
        if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
            sentence += f" One of {', '.join(hint)}."
        lines = [f"# {line}".rstrip() for line in sentence.splitlines()]
        parts.append(
            "\n".join([*lines, f"# {field.name} = {toml_of(getattr(config, field.name))}"])
        )
    return "\n\n".join(parts) + "\n"


def toml_of(value: Any) -> str:
    """Return a setting's value as TOML; one that is not set is an empty text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    json_value = list(value) if isinstance(value, tuple) else "" if value is None else str(value)
    # JSON's escapes are TOML's, except that TOML knows no surrogates and escapes DEL.
    return json.dumps(json_value, ensure_ascii=False).replace("\x7f", "\\u007f")
