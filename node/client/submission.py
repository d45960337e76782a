"""Follows a sent transaction to the block it is in, and words the refusals of pool and runtime."""

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
from node.client.results import Wait
from node.client.transport_websocket import WaitEndedError
from runtime.codec.hexadecimal import from_hex, to_hex
from runtime.frame.validity import Payment, TransactionRefused
from runtime.types.primitives import Hash

OnStatus = Callable[[str], None]
"""Receives the pool's status of a transaction whenever it changes."""

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
    notify: OnStatus,
) -> Hash:
    """Return the block in which a transaction is, a final one for `Wait.FINAL`.

    Raises RejectedError when the pool drops it, MayStillLandError when the wait ends first.
    """
    awaited = "finalized" if wait is Wait.FINAL else "inBlock"
    while True:
        try:
            update = next_update(deadline)
        except (WaitEndedError, UnreachableError) as error:
            reason = "was lost" if isinstance(error, UnreachableError) else "took too long"
            raise MayStillLandError(
                f"The wait for {to_hex(extrinsic_hash)} {reason}; the transaction may still get "
                "into a block. Look for its hash before sending it again.",
                extrinsic_hash,
            ) from error
        name = update if isinstance(update, str) else next(iter(update), "")
        notify(name)
        if name in (awaited, "finalized") and isinstance(update, dict):
            return Hash(from_hex(update[name]))
        if name in _LOST:
            raise RejectedError(
                f"The transaction {to_hex(extrinsic_hash)} is {name}: the pool let it go. "
                "Check nonce and balance of the account and send it again."
            )


def pool_refusal(error: RequestRefusedError) -> ClientError:
    """Return the error for a pool's refusal of a submission."""
    if isinstance(error.data, str) and "Inability to pay" in error.data:
        return InsufficientFundsError(_CANNOT_PAY)
    if error.code in _POOL_CODES:
        return RejectedError(f"{error}. Nothing was spent.")
    return error


def runtime_refusal(refusal: TransactionRefused) -> ClientError:
    """Return the error for the runtime's refusal of a dry run."""
    if isinstance(refusal.reason, Payment):
        return InsufficientFundsError(_CANNOT_PAY)
    return RejectedError(f"The transaction would be refused: {refusal}")
