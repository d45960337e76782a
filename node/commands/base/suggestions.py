"""Suggested commands: one that a message names repeats the options of the command that was typed.

An error deep in a node names `openledger chain purge` and knows no --base-path; taken literally,
that would purge another folder than the one that the error is about. So each message passes here
before it is printed. A command is recognised between backticks, where messages name them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Final

import click
from click.core import ParameterSource

CARRIED: Final[Mapping[str, str | None]] = {
    "--name": "OPENLEDGER_DEVNET",
    "--base-path": None,
    "--chain": None,
    "--keys": "OPENLEDGER_KEYS",
    "--url": "OPENLEDGER_URL",
}
"""The options that say where a command acts, and their variables: only devnets' --name is meant."""
_SUGGESTION: Final = re.compile(r"`openledger ([^`]+)`")


def remember(settings: Mapping[str, str]) -> None:
    """Have suggestions repeat these options, which came from a file or a variable."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[__name__] = dict(settings)


def with_options(message: str) -> str:
    """Return a message whose suggested commands act where the command that was typed acts."""
    context = click.get_current_context(silent=True)
    if context is None or "`openledger " not in message:
        return message
    given = {**context.meta.get(__name__, {}), **dict(_typed(context))}
    return _SUGGESTION.sub(lambda found: _completed(context, found[1], given), message)


def _typed(context: click.Context) -> Iterator[tuple[str, str]]:
    # What a variable says needs no repetition: it holds for the next command as well.
    for flag, option in _carried(context.command).items():
        name = option.name or ""
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            yield flag, str(context.params[name])


def _completed(context: click.Context, words: str, given: Mapping[str, str]) -> str:
    command, dashes, passed_on = words.partition(" -- ")
    known = _carried(_command(context.find_root(), command))
    missing = [flag for flag in given if flag in known and flag not in command.split()]
    options = "".join(f" {flag} {shlex.quote(given[flag])}" for flag in missing)
    return f"`openledger {command}{options}{dashes}{passed_on}`"


def _command(root: click.Context, words: str) -> click.Command:
    command = root.command
    for word in words.split():
        inner = command.get_command(root, word) if isinstance(command, click.Group) else None
        if inner is None:
            break
        command = inner
    return command


def _carried(command: click.Command) -> dict[str, click.Parameter]:
    return {
        flag: option
        for option in command.params
        for flag in option.opts
        if flag in CARRIED and option.envvar == CARRIED[flag]
    }
