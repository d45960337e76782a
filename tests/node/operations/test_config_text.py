"""Settings as texts: a template that loads to the defaults, and the source of each value."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.operations.config import NodeConfig, load
from node.operations.config_text import settings_of, template, toml_of

PLAIN = st.text(st.characters(exclude_categories=("Cs",)))


def test_a_template_whose_lines_count_gives_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    text = template(NodeConfig(), {})
    lines = re.findall(r"^# (\w+ = .*)$", text, re.MULTILINE)
    assert len(lines) == len(dataclasses.fields(NodeConfig))
    file.write_text("\n".join(lines))
    assert load(file, {}, {}) == NodeConfig()
    file.write_text(text)
    assert load(file, {}, {}) == NodeConfig(), "a template says nothing until a line counts"


def test_each_setting_names_where_its_value_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text('rpc_port = 1\nname = "file"\n')
    environment = {"OPENLEDGER_NAME": "variable"}
    shown = {
        setting.name: (setting.value, setting.source)
        for setting in settings_of(load(file, environment, {}), file, environment)
    }
    assert shown["rpc_port"] == ("1", str(file))
    assert shown["name"] == ('"variable"', "OPENLEDGER_NAME")
    assert shown["chain"] == ('"dev"', "default")


@given(st.one_of(PLAIN, st.booleans(), st.integers(0, 2**31), st.lists(PLAIN).map(tuple)))
def test_what_is_written_as_toml_is_read_back(value: object) -> None:
    read = tomllib.loads(f"x = {toml_of(value)}")["x"]
    assert (tuple(read) if isinstance(read, list) else read) == value


@pytest.mark.parametrize("value", [None, Path("/a b")])
def test_paths_are_texts_and_what_is_not_set_is_an_empty_one(value: Path | None) -> None:
    assert toml_of(value) == ('"/a b"' if value else '""')
