"""Decorators that make a function a command, with --json and a client; refusals of its input."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import sys
from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeVar

import click

from node.commands.base.exit_codes import errors_as_exit_codes
from node.commands.base.foreign_text import printable
from node.commands.base.hangup import ending_signals_interrupt
from node.commands.base.output import Output
from runtime.errors import ExitCode

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_URL: Final = "ws://127.0.0.1:9944"
SECONDS_MAX: Final = 1_000_000.0
"""Of any wait: beyond it, sockets and clocks overflow."""


class Seconds(click.ParamType[float]):
    """A time in seconds: a number above zero, within what a clock can wait for."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number. Fails with a sentence, also for nan and inf."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds <= SECONDS_MAX:  # false for nan
            self.fail(f"{value!r} is no time: a number of seconds is wanted, such as 30.")
        return seconds


SECONDS: Final = Seconds()


def command_output(*documents: type) -> Callable[[F], F]:
    """Make a function a command's body that returns one of these documents, or None.

    The function's first parameter is the Output.
    """

    def decorate(function: F) -> F:
        @click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
        @functools.wraps(function)
        def run(*arguments: Any, as_json: bool, **options: Any) -> None:
            output = Output(as_json)
            _warn_of_variables(output)
            with ending_signals_interrupt(), errors_as_exit_codes(output):
                document = function(output, *arguments, **options)
                if document is not None:
                    output.show(document)
                if output.exit_code is not ExitCode.OK:
                    sys.exit(output.exit_code)

        run.documents = documents  # type: ignore[attr-defined]
        return run  # type: ignore[return-value]

    return decorate


def pass_client(function: F) -> F:
    """Give a command's body a Client as its second parameter, and the options to find the node."""

    @click.option(
        "--url", envvar="OPENLEDGER_URL", default=DEFAULT_URL, show_default=True, help="The node."
    )
    @click.option(
        "--timeout", "timeout_s", type=SECONDS, default=30.0, help="Seconds to wait for answers."
    )
    @click.option("--genesis", help="Refuse a node whose chain has another genesis hash (0x hex).")
    @functools.wraps(function)
    def run(
        output: Output,
        *arguments: Any,
        url: str,
        timeout_s: float,
        genesis: str | None,
        **rest: Any,
    ) -> Any:
        from node.client import Client

        pinned = None if genesis is None else hash_of(genesis)
        with Client(url, genesis_hash=pinned, timeout_s=timeout_s) as client:
            if pinned is not None:
                _ = client.genesis_hash  # asks the node, and refuses one of another chain
            return function(output, client, *arguments, **rest)

    return run  # type: ignore[return-value]


def _warn_of_variables(output: Output) -> None:
    """Warn of variables that are misspelt, for nothing else would say that they have no effect."""
    from node.operations.environment import candidates, unknown_variables

    if not candidates(os.environ):
        return
    from node.operations.config import NodeConfig

    settings = [field.name for field in dataclasses.fields(NodeConfig)]
    for variable in unknown_variables(os.environ, settings):
        output.note(f"Warning: {variable}")


def refuse(sentence: str) -> NoReturn:
    """Stop with a usage error."""
    from node.client.errors import UsageError

    raise UsageError(sentence)


def confirm(question: str, *, is_given: bool, needs_terminal: bool = False) -> None:
    """Ask before something is done for good; `is_given` is what --yes says.

    With `needs_terminal`, a script is not asked. Raises UsageError where the answer is no, or
    nobody answers.
    """
    if is_given or (needs_terminal and not sys.stdin.isatty()):
        return
    try:
        is_agreed = click.confirm(printable(question), err=True)
    except click.Abort as abort:
        if isinstance(abort.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from abort
        click.echo(err=True)
        refuse("Nobody answered, so nothing was done. Confirm by --yes.")
    if not is_agreed:
        refuse("Nothing was done.")


yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def hash_of(text: str) -> Any:
    """Return the 32 bytes that 0x hex stands for. Raises UsageError."""
    from runtime.codec.hexadecimal import from_hex
    from runtime.types.primitives import Hash

    try:
        data = from_hex(text)
    except ValueError:
        data = b""
    if len(data) != 32:
        refuse(f"{text!r} is no hash. A hash is 0x and 64 hex digits.")
    return Hash(data)
