"""Lists of commands are whole, and a misspelt command is not only refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli import root
from node.commands.base.command_group import CommandGroup
from tests.node.commands.support.calling import OpenLedger


def groups(words: tuple[str, ...], group: click.Group) -> Iterator[tuple[str, ...]]:
    yield words
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            assert isinstance(command, CommandGroup), f"{name} is a group of another class"
            yield from groups((*words, name), command)


@pytest.mark.parametrize("words", list(groups((), root)), ids=" ".join)
def test_no_sentence_of_a_list_of_commands_is_cut(words: tuple[str, ...], tmp_path: Path) -> None:
    called = OpenLedger("ws://127.0.0.1:1", tmp_path)(*words, "--help")
    assert called.exit_code == 0
    assert not any(line.endswith("...") for line in called.out.split("Commands:")[-1].splitlines())


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("acount", "balance"), "account"),
        (("chain", "exportblocks"), "export-blocks"),
        (("tx", "Balances", "burn"), "balances"),
        (("tx", "balances", "transfer_keep_alive"), "transfer-keep-alive"),
    ],
)
def test_a_misspelt_command_gets_the_one_that_is_meant(
    words: tuple[str, ...], meant: str, tmp_path: Path
) -> None:
    called = OpenLedger("ws://127.0.0.1:1", tmp_path)(*words)
    assert (called.exit_code, f"Did you mean {meant}?" in called.err) == (2, True)
