"""The base of errors that reach a person, and the exit codes by which programs tell them apart.

An error's message is the sentence that the person reads: what happened, why, and what to do. Its
class carries the exit code of the command line. Errors that another part of the program handles
need neither, and do not derive from this base.
"""

from __future__ import annotations

import enum
from typing import ClassVar


class ExitCode(enum.IntEnum):
    """How a command ended."""

    OK = 0
    REJECTED = 1
    """Rejected on chain, or a check failed."""
    USAGE = 2
    """The request makes no sense as written, or not on this machine; nothing was sent."""
    UNREACHABLE = 3
    """No node answers at the address, or another one than wanted."""
    MAY_LAND = 4
    """The wait ended; the transaction may still get into a block."""
    FUNDS = 5
    """An account cannot pay."""
    LOCKED = 6
    """A key cannot be opened: no password, or a wrong one."""
    DOPPELGANGER = 7
    """Another node uses this validator's key: starting again by itself would be wrong."""
    DATA = 8
    """Data on this machine are damaged: trying again does not help."""
    DISK = 9
    """The disk is full or fails; with room, the same works."""
    STOPPED = 130
    """Stopped by Ctrl-C."""


class OpenLedgerError(Exception):
    """Base of errors whose message a person reads."""

    exit_code: ClassVar[ExitCode] = ExitCode.REJECTED


def first_cause(error: BaseException) -> BaseException:
    """Return the first exception itself: each nursery wraps it in a group of its own."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
