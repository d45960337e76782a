"""`openledger config`: a file of a node's settings: made, shown as it counts, and checked."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from ml.durable_file import write_durably
from node.commands.base.command import command_output, refuse
from node.commands.base.command_group import CommandGroup
from node.commands.base.output import Output
from node.commands.node.node import start
from node.operations.config import NodeConfig, load
from node.operations.config_text import settings_of, template
from runtime.errors import ExitCode


@dataclass(frozen=True, slots=True)
class ConfigFileDocument:
    """A file of settings that was written."""

    file: str
    settings: int


@dataclass(frozen=True, slots=True)
class SettingLine:
    """A setting, and where its value comes from: default, the file, or a variable."""

    name: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class ConfigDocument:
    """The settings with which a node would start, before its flags."""

    file: str | None
    settings: tuple[SettingLine, ...]


@dataclass(frozen=True, slots=True)
class ConfigCheckDocument:
    """What would keep a node from starting with these settings."""

    file: str | None
    is_good: bool
    problems: tuple[str, ...]


file_option = click.option(
    "--config", "file", type=click.Path(path_type=Path), help="TOML file of settings."
)


@click.group("config", cls=CommandGroup)
def config_command() -> None:
    """Make, show and check a file of a node's settings."""


@config_command.command("init")
@click.argument("file", type=click.Path(path_type=Path), default="openledger.toml")
@command_output(ConfigFileDocument)
def init(output: Output, file: Path) -> ConfigFileDocument:
    """Write a new FILE of all settings with their defaults and what they mean.

    FILE is openledger.toml unless given.
    """
    if file.exists():
        refuse(f"{file} exists already. Name a new file; nothing was overwritten.")
    sentences = {option.name or "": getattr(option, "help", None) or "" for option in start.params}
    config = NodeConfig()
    text = template(config, sentences)
    write_durably(file, text.encode())
    output.note(f"Start a node with it: `openledger node start --config {file}`")
    return ConfigFileDocument(str(file), len(tuple(settings_of(config, None, {}))))


@config_command.command("show")
@file_option
@command_output(ConfigDocument)
def show(output: Output, file: Path | None) -> ConfigDocument:
    """Show every setting of a node, and whether it comes from the file, a variable, or neither."""
    config = load(file, os.environ, {})
    lines = (
        SettingLine(setting.name, setting.value, setting.source)
        for setting in settings_of(config, file, os.environ)
    )
    return ConfigDocument(None if file is None else str(file), tuple(lines))


@config_command.command("check")
@file_option
@command_output(ConfigCheckDocument)
def check(output: Output, file: Path | None) -> ConfigCheckDocument:
    """Check the settings of a node without starting it: their form, chain, keys and addresses.

    Ends with exit code 2 where a node would not start by them, or may not vote from its folder.
    `openledger chain check --base-path` checks the data.
    """
    from node.service.start_checks import start_problems  # p2p's library, which help need not load

    problems = start_problems(load(file, os.environ, {}))
    document = ConfigCheckDocument(None if file is None else str(file), not problems, problems)
    if problems:
        output.show(document)
        for problem in problems:
            output.note(problem)
        sys.exit(ExitCode.USAGE)
    output.note("A node would start with these settings, if its ports are free and its data whole.")
    return document
