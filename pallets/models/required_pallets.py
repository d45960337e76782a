"""The parts of other pallets that Models calls."""

from __future__ import annotations

from typing import Protocol

from pallets.balances import HoldReason
from runtime.types.primitives import AccountId


class Currency(Protocol):
    """The part of Balances that Models calls."""

    def hold(self, reason: HoldReason, who: AccountId, amount: int) -> None: ...
    def release(self, reason: HoldReason, who: AccountId, amount: int) -> None: ...
    def held(self, reason: HoldReason, who: AccountId) -> int: ...


class PublishedVersion(Protocol):
    """The part of a published version that Models reads."""

    @property
    def rows(self) -> int: ...


class DatanetRegistry(Protocol):
    """The part of Datanets that Models calls."""

    def get_version(self, datanet: int, version: int) -> PublishedVersion | None: ...
    def may_read(self, account: AccountId, datanet: int) -> bool: ...
