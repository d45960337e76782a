"""`openledger config`: a file of a node's settings: made, shown as it counts, and checked."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from genesis.spec import load_spec
from ml.durable_file import write_durably
from node.commands.base.command import command_output, refuse
from node.commands.base.command_group import CommandGroup
from node.commands.base.output import Output
from node.commands.node.node import start
from node.keys.node_keys import load_pair, load_session_pair
from node.operations.config import NodeConfig, load
from node.operations.config_text import settings_of, template
from runtime.errors import ExitCode, OpenLedgerError


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
    """Check the settings of a node without starting it: their form, chain, keys and passwords.

    Ends with exit code 2 where a node would not start.
    """
    problems = tuple(_problems(load(file, os.environ, {})))
    document = ConfigCheckDocument(None if file is None else str(file), not problems, problems)
    if problems:
        output.show(document)
        for problem in problems:
            output.note(problem)
        sys.exit(ExitCode.USAGE)
    output.note("A node would start with these settings, if its ports are free.")
    return document


def _problems(config: NodeConfig) -> list[str]:
    """Return what a node would refuse, one sentence for each cause."""
    try:
        chain_type = load_spec(config.chain).chain_type
    except OpenLedgerError as error:
        return [str(error)]  # which keys are allowed depends on the chain
    loads = [load_pair]
    if config.validator and config.signer is None and config.session_key:
        loads.append(load_session_pair)
    problems = []
    for load_key in loads:
        try:
            load_key(config, chain_type)
        except OpenLedgerError as error:
            problems.append(str(error))
    folder = _existing(config.base_path)
    if not os.access(folder, os.W_OK | os.X_OK):
        problems.append(f"{folder} cannot be written to. Name another --base-path.")
    if config.signer is not None and not config.signer.is_socket():
        problems.append(
            f"No signer listens on {config.signer}. Start it with `openledger signer --socket`."
        )
    return problems


def _existing(path: Path) -> Path:
    """Return the nearest folder above a path that is there."""
    absolute = path.absolute()
    return next(folder for folder in (absolute, *absolute.parents) if folder.exists())
