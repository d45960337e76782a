"""The errors between a client and its node: one class for each cause.

Every message is the sentence that a person reads: what happened, why, and what to do next. Each
class carries the exit code of the command line: 1 rejected on chain, 2 usage, 3 unreachable,
4 timeout that may still land, 5 insufficient funds, 6 locked key (runtime/errors.py has all).
"""

from __future__ import annotations

from runtime.errors import ExitCode, OpenLedgerError
from runtime.types.primitives import Hash


class ClientError(OpenLedgerError):
    """Base of everything that the client refuses or reports."""


class RequestRefusedError(ClientError):
    """The node answered with a JSON-RPC or HTTP error; `code` and `data` are its own."""

    def __init__(self, message: str, code: int = 0, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class RejectedError(ClientError):
    """The pool or a block refused a transaction; nothing but the fee was taken."""


class InsufficientFundsError(ClientError):
    """An account cannot pay."""

    exit_code = ExitCode.FUNDS


class UsageError(ClientError):
    """The request makes no sense as written; nothing was sent."""

    exit_code = ExitCode.USAGE


class UnreachableError(ClientError):
    """No node answers at the address."""

    exit_code = ExitCode.UNREACHABLE


class WrongNodeError(ClientError):
    """The node answers, but it is not the one whose transactions this program can sign."""

    exit_code = ExitCode.UNREACHABLE


class MayStillLandError(ClientError):
    """The wait ended before the transaction was seen in a block; it may still get there."""

    exit_code = ExitCode.MAY_LAND

    def __init__(self, message: str, extrinsic_hash: Hash) -> None:
        super().__init__(message)
        self.extrinsic_hash = extrinsic_hash


class LockedKeyError(ClientError):
    """A key cannot be opened: no password, or a wrong one."""

    exit_code = ExitCode.LOCKED
