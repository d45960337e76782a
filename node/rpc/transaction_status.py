"""Statuses and refusals of the pool as JSON-RPC writes them.

Source: Substrate's TransactionStatus (sc-transaction-pool-api) and the codes of sc-rpc-api's author
module, 1010 and on.
"""

from __future__ import annotations

from typing import Final

from node.rpc.errors import Json, TransactionRejectedError
from node.transactions import errors
from node.transactions.status import (
    Dropped,
    FinalityTimeout,
    InBlock,
    InFinalBlock,
    Invalidated,
    NotReady,
    Ready,
    Retracted,
    Status,
    Usurped,
)
from runtime.codec.hexadecimal import to_hex

CODES: Final[dict[type[errors.PoolError], int]] = {
    errors.BadFormatError: 1001,
    errors.InvalidTransactionError: 1010,
    errors.UnknownValidityError: 1011,
    errors.TemporarilyBannedError: 1012,
    errors.AlreadyImportedError: 1013,
    errors.PriorityTooLowError: 1014,
    errors.ImmediatelyDroppedError: 1016,
}


def rejection(error: errors.PoolError) -> TransactionRejectedError:
    """Return the error that a caller reads of a pool's refusal."""
    return TransactionRejectedError(CODES[type(error)], error.message, error.detail)


def status_json(status: Status) -> Json:
    """Return a status as author_submitAndWatchExtrinsic notifies it."""
    match status:
        case NotReady():
            return "future"
        case Ready():
            return "ready"
        case InBlock(block):
            return {"inBlock": to_hex(block)}
        case Retracted(block):
            return {"retracted": to_hex(block)}
        case InFinalBlock(block):
            return {"finalized": to_hex(block)}
        case FinalityTimeout(block):
            return {"finalityTimeout": to_hex(block)}
        case Usurped(by):
            return {"usurped": to_hex(by)}
        case Dropped():
            return "dropped"
        case Invalidated():
            return "invalid"
