"""Appending to a log so that it either survives a power cut or is known to have failed."""

from __future__ import annotations

import os
from typing import IO


class ShortWriteError(OSError):
    """The disk took only a part of a record: it is full, or a limit is reached."""


def append_durably(file: IO[bytes], data: bytes, size: int) -> None:
    """Append to an unbuffered file of `size` bytes, and sync it. Raises OSError.

    A system may take a part and report no error; that part is cut off again, so that a later record
    does not follow a torn one.
    """
    try:
        written = file.write(data)
        if written != len(data):
            raise ShortWriteError(
                f"The disk took {written} of {len(data)} bytes of {file.name}. Free some space, "
                "then start again."
            )
        os.fdatasync(file.fileno())
    except OSError:
        os.truncate(file.fileno(), size)
        raise
