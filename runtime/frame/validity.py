"""Validity of an extrinsic for the transaction queue, and its priority there.

Encodings are those of sp_runtime::transaction_validity; clients read them in V15 metadata.
"""

from __future__ import annotations

import enum
from typing import Final

from runtime.codec.scale import Enumeration, scale, u8, u64
from runtime.codec.shape import rust

PRIORITY_MAX: Final = 2**64 - 1


@rust("sp_runtime::transaction_validity::TransactionSource")
class TransactionSource(enum.IntEnum):
    """The source of a transaction."""

    InBlock = 0
    Local = 1
    External = 2


@rust("sp_runtime::transaction_validity::InvalidTransaction", bare=True)
class InvalidTransaction(Enumeration):
    """The transaction is invalid; it will not become valid by waiting (Future aside)."""


@rust("Call")
class CallInvalid(InvalidTransaction, index=0):
    """The call is not allowed here."""


class Payment(InvalidTransaction, index=1):
    """The fee cannot be paid."""


class Future(InvalidTransaction, index=2):
    """The nonce is too high."""


class Stale(InvalidTransaction, index=3):
    """The nonce is too low."""


class BadProof(InvalidTransaction, index=4):
    """The signature does not verify: wrong key, payload, genesis or runtime version."""


class AncientBirthBlock(InvalidTransaction, index=5):
    """The era is over, or its first block is unknown."""


class ExhaustsResources(InvalidTransaction, index=6):
    """The transaction does not fit a block."""


@rust("Custom")
class CustomInvalid(InvalidTransaction, index=7):
    """Something else."""

    code: u8


class BadMandatory(InvalidTransaction, index=8):
    """A mandatory inherent failed."""


class MandatoryValidation(InvalidTransaction, index=9):
    """An inherent was submitted as a transaction."""


class BadSigner(InvalidTransaction, index=10):
    """The signer may not sign this."""


class IndeterminateImplicit(InvalidTransaction, index=11):
    """The implicit part of the payload cannot be determined."""


class UnknownOrigin(InvalidTransaction, index=12):
    """The origin is not known."""


@rust("sp_runtime::transaction_validity::UnknownTransaction", bare=True)
class UnknownTransaction(Enumeration):
    """The runtime cannot decide whether the transaction is valid."""


@rust("CannotLookup")
class CannotLookupSigner(UnknownTransaction, index=0):
    """The signer's address does not resolve."""


class NoUnsignedValidator(UnknownTransaction, index=1):
    """Nobody vouches for this unsigned transaction."""


@rust("Custom")
class CustomUnknown(UnknownTransaction, index=2):
    """Something else."""

    code: u8


@rust("sp_runtime::transaction_validity::TransactionValidityError", bare=True)
class TransactionValidityError(Enumeration):
    """Why a transaction is not valid."""


class Invalid(TransactionValidityError, index=0):
    """It is invalid."""

    reason: InvalidTransaction


class Unknown(TransactionValidityError, index=1):
    """The runtime cannot decide."""

    reason: UnknownTransaction


@rust("sp_runtime::transaction_validity::ValidTransaction")
@scale
class ValidTransaction:
    """The place of a valid transaction in the queue; tags are opaque."""

    priority: u64
    requires: tuple[bytes, ...]
    provides: tuple[bytes, ...]
    longevity: u64
    propagate: bool


class TransactionRefused(Exception):
    """A transaction is not valid; `error` says why in the encoding of clients.

    `why` says more than the reason's own sentence: the error of the pallet, for example.
    """

    def __init__(self, reason: InvalidTransaction | UnknownTransaction, why: str = "") -> None:
        super().__init__(why or (type(reason).__doc__ or "").strip())
        invalid = isinstance(reason, InvalidTransaction)
        self.error: TransactionValidityError = (
            Invalid(reason) if isinstance(reason, InvalidTransaction) else Unknown(reason)
        )
        self.reason = reason
        self.is_invalid = invalid


def check_nonce(nonce: int, expected: int, *, exact: bool) -> None:
    """Refuse a nonce that is used already, or, where a block needs the exact one, a later one.

    `expected` is the account's next nonce. Raises TransactionRefused with Stale or Future.
    """
    if nonce < expected:
        raise TransactionRefused(Stale())
    if exact and nonce > expected:
        raise TransactionRefused(Future())
