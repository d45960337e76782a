"""What all commands share: the JSON flag, the connection, and errors as sentences and exit codes.

0 ok, 1 rejected on chain or a check failed, 2 usage, 3 unreachable, 4 may still land,
5 insufficient funds, 6 locked key, 130 stopped by Ctrl-C
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn, TypeVar

import click

from node.commands.output import Output

F = TypeVar("F", bound=Callable[..., Any])

REJECTED, USAGE, UNREACHABLE, MAY_LAND, FUNDS, LOCKED, STOPPED = 1, 2, 3, 4, 5, 6, 130
DEFAULT_URL: Final = "ws://127.0.0.1:9944"


def reports(*documents: type) -> Callable[[F], F]:
    """Make a function a command's body that returns one of these documents, or None.

    The function's first parameter is the Output.
    """

    def decorate(function: F) -> F:
        @click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
        @functools.wraps(function)
        def run(*arguments: Any, as_json: bool, **options: Any) -> None:
            output = Output(as_json)
            with failing_with_sentences(output):
                document = function(output, *arguments, **options)
                if document is not None:
                    output.show(document)

        run.documents = documents  # type: ignore[attr-defined]
        return run  # type: ignore[return-value]

    return decorate


def connects(function: F) -> F:
    """Give a command's body a Client as its second parameter, and the options to find the node."""

    @click.option(
        "--url", envvar="OPENLEDGER_URL", default=DEFAULT_URL, show_default=True, help="The node."
    )
    @click.option(
        "--timeout", "timeout_s", type=float, default=30.0, help="Seconds to wait for answers."
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

        wanted = None if genesis is None else hash_of(genesis)
        with Client(url, genesis_hash=wanted, timeout_s=timeout_s) as client:
            return function(output, client, *arguments, **rest)

    return run  # type: ignore[return-value]


@contextmanager
def failing_with_sentences(output: Output) -> Iterator[None]:
    """Turn every expected error of the body into a sentence and an exit code."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)
        sys.exit(STOPPED)
    except BrokenPipeError:
        # Whoever read us has had enough; Python must not complain again when it closes stdout.
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        exit_code = _exit_code(error)
        if exit_code is None:
            raise
        output.fail(type(error).__name__, str(error), exit_code)
        sys.exit(exit_code)


def _exit_code(error: Exception) -> int | None:
    """Return the exit code of an error that has a sentence, None for a bug."""
    from genesis.accounts import AccountTextError
    from genesis.spec import ChainSpecError
    from genesis.values import ValueTextError
    from node.client.errors import ClientError
    from node.keystore import EmptyPasswordError, KeyExistsError, KeyNotFoundError, KeystoreError
    from runtime.keys import DerivationError, PhraseError, SeedError
    from runtime.scale import DecodeError, EncodeError

    if isinstance(error, ClientError):
        return error.exit_code
    if isinstance(error, KeyNotFoundError | KeyExistsError | EmptyPasswordError):
        return USAGE
    if isinstance(error, KeystoreError):
        return LOCKED
    usage = (AccountTextError, ChainSpecError, ValueTextError, DerivationError, PhraseError)
    if isinstance(error, (*usage, SeedError, DecodeError, EncodeError)):
        return USAGE
    return USAGE if isinstance(error, OSError) else None


def refuse(sentence: str) -> NoReturn:
    """Stop with a usage error."""
    from node.client.errors import UsageError

    raise UsageError(sentence)


def hash_of(text: str) -> Any:
    """Return the 32 bytes that 0x hex stands for. Raises UsageError."""
    from runtime.primitives import Hash

    try:
        data = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        data = b""
    if len(data) != 32:
        refuse(f"{text!r} is no hash. A hash is 0x and 64 hex digits.")
    return Hash(data)
