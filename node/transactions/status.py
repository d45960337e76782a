"""The statuses of a submitted transaction, in the order in which its watchers see them.

    NotReady -> Ready -> InBlock -> InFinalBlock
    InBlock -> Retracted -> Ready | NotReady | InBlock   its block left the best branch
    InBlock -> FinalityTimeout                           its block does not become final
    any -> Usurped | Dropped | Invalidated               see each class

node/rpc/transaction_status.py writes them as JSON-RPC does.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.types.primitives import Hash


@dataclass(frozen=True, slots=True)
class NotReady:
    """A transaction with an earlier nonce is missing."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A block could include it now."""


@dataclass(frozen=True, slots=True)
class InBlock:
    """A block of the best branch includes it."""

    block: Hash


@dataclass(frozen=True, slots=True)
class Retracted:
    """The block that included it left the best branch."""

    block: Hash


@dataclass(frozen=True, slots=True)
class InFinalBlock:
    """The block that includes it is final; this is the last status."""

    block: Hash


@dataclass(frozen=True, slots=True)
class FinalityTimeout:
    """Its block waited too long for finality; this is the last status."""

    block: Hash


@dataclass(frozen=True, slots=True)
class Usurped:
    """Another transaction of its account and nonce, with a better tip, replaced it."""

    by: Hash


@dataclass(frozen=True, slots=True)
class Dropped:
    """It was removed by the operator, or evicted from a full pool."""


@dataclass(frozen=True, slots=True)
class Invalidated:
    """It can no longer be included."""


Status = (
    NotReady
    | Ready
    | InBlock
    | Retracted
    | InFinalBlock
    | FinalityTimeout
    | Usurped
    | Dropped
    | Invalidated
)
