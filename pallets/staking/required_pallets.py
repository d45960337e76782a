"""The parts of other pallets that Staking calls."""

from __future__ import annotations

from typing import Protocol

from pallets.balances import HoldReason
from pallets.required_system import BlockNumber, Pots
from runtime.codec.scale import Bytes32, u64
from runtime.frame.storage import Value
from runtime.types.primitives import AccountId


class Currency(Protocol):
    """The part of Balances that Staking calls."""

    def free(self, who: AccountId) -> int: ...
    def held(self, reason: HoldReason, who: AccountId) -> int: ...
    def hold(self, reason: HoldReason, who: AccountId, amount: int) -> None: ...
    def release(self, reason: HoldReason, who: AccountId, amount: int) -> None: ...
    def slash_held(self, reason: HoldReason, who: AccountId, amount: int) -> int: ...
    def transfer(
        self, source: AccountId, dest: AccountId, amount: int, *, keep_alive: bool = False
    ) -> None: ...


class Clock(Protocol):
    """The part of Timestamp that Staking calls."""

    @property
    def now(self) -> Value[u64]: ...


class Blocks(BlockNumber, Pots, Protocol):
    """The part of System that Staking calls."""


class Validating(Protocol):
    """The part of Session that Staking calls."""

    def epoch(self) -> int: ...
    def registered_key(self, account: AccountId) -> Bytes32 | None: ...
