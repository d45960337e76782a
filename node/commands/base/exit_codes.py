"""Errors of a command as a sentence and an exit code: `runtime/errors.py` lists the codes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from node.commands.base.output import Output
from runtime.errors import ExitCode, OpenLedgerError


@contextmanager
def errors_as_exit_codes(output: Output) -> Iterator[None]:
    """Print an expected error of the body as a sentence, and exit by its code."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)
        sys.exit(ExitCode.STOPPED)
    except BrokenPipeError:
        # The reader of our output is gone; Python must not complain again when it closes stdout.
        sys.stderr.close()
        sys.exit(ExitCode.OK)
    except Exception as error:
        exit_code = exit_code_of(error)
        if exit_code is None:
            raise
        output.fail(type(error).__name__, str(error), exit_code)
        sys.exit(exit_code)


def exit_code_of(error: Exception) -> ExitCode | None:
    """Return the exit code of an error that has a sentence, None for a bug."""
    if isinstance(error, OpenLedgerError):
        return error.exit_code
    return ExitCode.USAGE if isinstance(error, OSError) else None
