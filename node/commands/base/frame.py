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

from node.commands.base.output import Output

F = TypeVar("F", bound=Callable[..., Any])

REJECTED, USAGE, UNREACHABLE, MAY_LAND, FUNDS, LOCKED, STOPPED = 1, 2, 3, 4, 5, 6, 130
DEFAULT_URL: Final = "ws://127.0.0.1:9944"

_EXIT_CODES: Final = (
    ("node.client.errors", "ClientError", REJECTED),
    ("node.keys.keystore", "KeyNotFoundError", USAGE),
    ("node.keys.keystore", "KeyExistsError", USAGE),
    ("node.keys.keystore", "EmptyPasswordError", USAGE),
    ("node.keys.keystore", "KeystoreError", LOCKED),
    ("genesis.accounts", "AccountTextError", USAGE),
    ("genesis.amounts", "ValueTextError", USAGE),
    ("genesis.spec", "ChainSpecError", USAGE),
    ("runtime.crypto.keys", "PhraseError", USAGE),
    ("runtime.crypto.keys", "SeedError", USAGE),
    ("runtime.crypto.keys", "DerivationError", USAGE),
    ("runtime.codec.scale", "EncodeError", USAGE),
    ("runtime.codec.scale", "DecodeError", USAGE),
    ("runtime.frame.executive", "InvalidBlockError", REJECTED),
    ("node.chain.justifications", "JustificationError", REJECTED),
    ("node.operations.config", "ConfigError", USAGE),
    ("node.devnet.errors", "DevnetError", USAGE),
    ("node.service.control_socket", "ControlRefusedError", USAGE),
    ("node.chain.epochs", "NoAuthoritiesError", USAGE),
    ("node.finality.doppelganger", "DoppelgangerError", REJECTED),
    ("node.keys.vote_signer", "SignerError", USAGE),
    ("consensus.write_ahead_log", "DamagedLogError", USAGE),
    ("p2p.transport.transport", "TransportError", USAGE),
    ("node.storage.database", "DatabaseError", USAGE),
    ("node.chain.chain", "ChainError", USAGE),
    ("node.rpc.connections", "ListenError", USAGE),
    ("ml.base.base", "BaseNotFoundError", USAGE),
    ("ml.base.base", "BaseWithoutSafetensorsError", USAGE),
    ("ml.adapters.validation", "AdapterRefusedError", REJECTED),
    ("ml.jobs.inputs", "InputMissingError", REJECTED),
    ("ml.jobs.inputs", "InputCorruptError", REJECTED),
    ("runtime.trie.proof", "ProofError", REJECTED),
    ("ml.rows.readers", "FileRefusedError", USAGE),
    ("ml.rows.readers", "LineRefusedError", USAGE),
)
"""Errors with a sentence, most special first; one with an exit code of its own keeps it."""


def command_output(*documents: type) -> Callable[[F], F]:
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


def pass_client(function: F) -> F:
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
            if wanted is not None:
                _ = client.genesis_hash  # asks the node, and refuses one of another chain
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
    """Return the exit code of an error that has a sentence, None for a bug.

    An error's module is loaded already, so none is imported to recognise it.
    """
    for module, name, exit_code in _EXIT_CODES:
        known = getattr(sys.modules.get(module), name, None)
        if known is not None and isinstance(error, known):
            return int(getattr(error, "exit_code", exit_code))
    return USAGE if isinstance(error, OSError) else None


def refuse(sentence: str) -> NoReturn:
    """Stop with a usage error."""
    from node.client.errors import UsageError

    raise UsageError(sentence)


def hash_of(text: str) -> Any:
    """Return the 32 bytes that 0x hex stands for. Raises UsageError."""
    from runtime.types.primitives import Hash

    try:
        data = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        data = b""
    if len(data) != 32:
        refuse(f"{text!r} is no hash. A hash is 0x and 64 hex digits.")
    return Hash(data)
