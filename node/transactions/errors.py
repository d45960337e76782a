"""Refusals of the pool: one error class for each cause, and the ban list of recent ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import ClassVar, Final

from runtime.frame.validity import (
    AncientBirthBlock,
    BadProof,
    BadSigner,
    CannotLookupSigner,
    ExhaustsResources,
    Future,
    MandatoryValidation,
    Payment,
    Stale,
    TransactionRefused,
)
from runtime.types.primitives import Hash

BANNED_MAX: Final = 16_384
BAN_SECONDS: Final = 60.0

REFUSALS: Final[dict[type, str]] = {
    Payment: "Inability to pay some fees (e.g. account balance too low)",
    Future: "Transaction will be valid in the future",
    Stale: "Transaction is outdated",
    BadProof: "Transaction has a bad signature",
    AncientBirthBlock: "Transaction has an ancient birth block",
    ExhaustsResources: "Transaction would exhaust the block limits",
    MandatoryValidation: "Transaction dispatch is mandatory; transactions must not be validated.",
    BadSigner: "Invalid signing address",
    CannotLookupSigner: "Could not lookup information required to validate the transaction",
}


class PoolError(Exception):
    """Base of the pool's refusals: `message` names the cause, `detail` the case."""

    message: ClassVar[str] = "Invalid Transaction"

    def __init__(self, detail: str) -> None:
        super().__init__(f"{self.message}: {detail}")
        self.detail = detail
        self.checking_seconds = 0.0
        """How long the pool worked on a peer's transaction before it refused it."""


class BadFormatError(PoolError):
    """The bytes are no extrinsic of this runtime."""

    message = "Extrinsic has invalid format"


class InvalidTransactionError(PoolError):
    """The runtime refuses the transaction."""


class UnknownValidityError(PoolError):
    """The runtime cannot tell whether the transaction is valid."""

    message = "Unknown Transaction Validity"


class TemporarilyBannedError(PoolError):
    """The transaction was found invalid or removed a moment ago."""

    message = "Transaction is temporarily banned"


class AlreadyImportedError(PoolError):
    """The transaction is in the pool."""

    message = "Transaction is already in the pool"


class PriorityTooLowError(PoolError):
    """Another transaction with this nonce offers as much."""

    message = "Priority is too low"


class ImmediatelyDroppedError(PoolError):
    """The pool is full, or this account has filled its share."""

    message = "Immediately Dropped"


class Bans:
    """Transactions that were found invalid or were removed a moment ago."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: OrderedDict[Hash, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def add(self, found: Hash) -> None:
        """Refuse a transaction for a while; the oldest bans make room."""
        self._until[found] = self._clock() + BAN_SECONDS
        self._until.move_to_end(found)
        while len(self._until) > BANNED_MAX:
            self._until.popitem(last=False)

    def check(self, found: Hash) -> None:
        """Raise TemporarilyBannedError for a banned transaction."""
        until = self._until.get(found)
        if until is None:
            return
        if until > self._clock():
            raise TemporarilyBannedError("try again in a minute")
        del self._until[found]


def refusal_of(refusal: TransactionRefused) -> PoolError:
    """Return the pool's error for a refusal of the runtime."""
    text = REFUSALS.get(type(refusal.reason), str(refusal))
    if refusal.is_invalid:
        return InvalidTransactionError(text)
    return UnknownValidityError(text)
