"""Errors of a command as a sentence and an exit code: `runtime/errors.py` lists the codes."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from node.commands.base.output import Output
from runtime.errors import ExitCode, OpenLedgerError

_DRAFT: Final = re.compile(r"(^|/)\.([^/]+)\.\w+\.part$")
"""A file is written under such a name and then renamed; the user knows the other one."""
_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
"""What a disk refuses that is full, fails, or was set read-only after a fault."""
_NEXT_STEPS: Final[dict[type[OSError], str]] = {
    FileNotFoundError: "Check the path.",
    IsADirectoryError: "Name a file.",
    NotADirectoryError: "Check the path: a file stands where it needs a folder.",
    PermissionError: "Name another path, or change its permissions.",
    FileExistsError: "Name a new one; nothing was overwritten.",
}


@contextmanager
def errors_as_exit_codes(output: Output) -> Iterator[None]:
    """Print an expected error of the body as a sentence, and exit by its code."""
    try:
        yield
    except KeyboardInterrupt:
        output.stop()
        sys.exit(ExitCode.STOPPED)
    except BrokenPipeError:
        # The reader of our output is gone; Python must not complain again when it closes stdout.
        sys.stderr.close()
        sys.exit(ExitCode.OK)
    except Exception as error:
        exit_code = exit_code_of(error)
        if exit_code is None:
            raise
        output.fail(type(error).__name__, sentence_of(error), exit_code)
        sys.exit(exit_code)


def sentence_of(error: Exception) -> str:
    """Return the sentence of an expected error; those of the system become one."""
    if isinstance(error, UnicodeEncodeError):
        return (
            f"{error.object!r:.60} is no Unicode text: it holds bytes that are no UTF-8, or half "
            "of a surrogate pair. Write the characters themselves, in UTF-8."
        )
    if isinstance(error, OpenLedgerError) or not isinstance(error, OSError):
        return str(error)
    what = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return f"The system refused: {what}. Look at the disk and the permissions."
    names = (str(name) for name in (error.filename, error.filename2) if name)
    places = " and ".join(dict.fromkeys(_DRAFT.sub(r"\1\2", name) for name in names))
    next_step = _NEXT_STEPS.get(type(error), "Look at the disk and the permissions.")
    return f"{places} cannot be used: {what}. {next_step}"


def exit_code_of(error: Exception) -> ExitCode | None:
    """Return the exit code of an error that has a sentence, None for a bug."""
    if isinstance(error, OpenLedgerError):
        return error.exit_code
    if isinstance(error, UnicodeEncodeError) and error.encoding == "utf-8":
        return ExitCode.USAGE  # an argument was read from bytes that are no UTF-8
    if not isinstance(error, OSError):
        return None
    return ExitCode.DISK if error.errno in _DISK else ExitCode.USAGE
