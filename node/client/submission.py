"""From a sent transaction to the block it is in, and the words for what refuses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from node.client.errors import (
    ClientError,
    InsufficientFundsError,
    MayStillLandError,
    RejectedError,
    RequestRefusedError,
    UnreachableError,
)
from node.client.remote_state import hexed, unhex
from node.client.results import Wait
from node.client.transport_websocket import WaitEndedError
from runtime.frame.validity import Payment, TransactionRefused
from runtime.types.primitives import Hash

OnStatus = Callable[[str], None]
"""Told the pool's word for where a transaction is, as it changes."""

_LOST: Final = ("dropped", "invalid", "usurped", "finalityTimeout")
_POOL_CODES: Final = range(1001, 1050)
_CANNOT_PAY: Final = (
    "The account cannot pay the fee. Send it some OPEN first; "
    "on a development chain //Alice has plenty."
)


def follow(
    next_update: Callable[[float | None], Any],
    extrinsic_hash: Hash,
    wait: Wait,
    deadline: float,
    tell: OnStatus,
) -> Hash:
    """Return the block in which a transaction is, a final one where that was asked.

    Raises RejectedError when the pool lets it go, MayStillLandError when the wait ends first.
    """
    wanted = "finalized" if wait is Wait.FINAL else "inBlock"
    while True:
        try:
            update = next_update(deadline)
        except (WaitEndedError, UnreachableError) as error:
            reason = "was lost" if isinstance(error, UnreachableError) else "took too long"
            raise MayStillLandError(
                f"The wait for {hexed(extrinsic_hash)} {reason}; the transaction may still get "
                "into a block. Look for its hash before sending it again.",
                extrinsic_hash,
            ) from error
        name = update if isinstance(update, str) else next(iter(update), "")
        tell(name)
        if name in (wanted, "finalized") and isinstance(update, dict):
            return Hash(unhex(update[name]))
        if name in _LOST:
            raise RejectedError(
                f"The transaction {hexed(extrinsic_hash)} is {name}: the pool let it go. "
                "Check nonce and balance of the account and send it again."
            )


def pool_refusal(error: RequestRefusedError) -> ClientError:
    """Return the error for what a pool answered to a submission."""
    if isinstance(error.data, str) and "Inability to pay" in error.data:
        return InsufficientFundsError(_CANNOT_PAY)
    if error.code in _POOL_CODES:
        return RejectedError(f"{error}. Nothing was spent.")
    return error


def runtime_refusal(refusal: TransactionRefused) -> ClientError:
    """Return the error for what the runtime answered to a dry run."""
    if isinstance(refusal.reason, Payment):
        return InsufficientFundsError(_CANNOT_PAY)
    return RejectedError(f"The transaction would be refused: {refusal}")
