"""Variables of the environment that mean nothing are found, and the meant one is named."""

from __future__ import annotations

import dataclasses

import click
import pytest

from node.commands.catalogue import commands
from node.operations.config import NodeConfig
from node.operations.environment import COMMAND_VARIABLES, UnknownVariable, unknown_variables

SETTINGS = [field.name for field in dataclasses.fields(NodeConfig)]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("OPENLEDGER_RPC_PROT", "OPENLEDGER_RPC_PORT"),
        ("OPENLEDGER_ULR", "OPENLEDGER_URL"),
        ("OPENLEDGER_PASSWORDFILE", "OPENLEDGER_PASSWORD_FILE"),
        ("OPENLEDGER_ZZZZZZZZ", None),
    ],
)
def test_a_misspelt_variable_is_named_with_the_one_that_is_meant(
    name: str, meant: str | None
) -> None:
    assert list(unknown_variables({name: "1"}, SETTINGS)) == [UnknownVariable(name, meant)]


def test_settings_variables_of_commands_and_foreign_ones_are_no_mistakes() -> None:
    names = {f"OPENLEDGER_{name.upper()}" for name in SETTINGS} | COMMAND_VARIABLES
    names |= {"PATH", "OPENLEDGER", "_OPENLEDGER_COMPLETE", "OPENLEDGER_SCALE"}
    assert list(unknown_variables(dict.fromkeys(names, "1"), SETTINGS)) == []


def test_every_variable_that_an_option_reads_is_known() -> None:
    read = {
        parameter.envvar
        for _, command in commands()
        for parameter in command.params
        if isinstance(parameter, click.Parameter) and parameter.envvar
    }
    assert read
    assert read <= COMMAND_VARIABLES | {f"OPENLEDGER_{name.upper()}" for name in SETTINGS}
