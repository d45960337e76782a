"""The parts of other pallets that Datanets calls."""

from __future__ import annotations

from typing import Protocol

from pallets.balances import HoldReason
from runtime.types.primitives import AccountId


class Currency(Protocol):
    """The part of Balances that Datanets calls."""

    def hold(self, reason: HoldReason, who: AccountId, amount: int) -> None: ...
    def release(self, reason: HoldReason, who: AccountId, amount: int) -> None: ...
    def slash_held(self, reason: HoldReason, who: AccountId, amount: int) -> int: ...
    def held(self, reason: HoldReason, who: AccountId) -> int: ...
