"""The parts of other pallets that Models calls."""

from __future__ import annotations

from typing import Protocol

from pallets.balances import HoldReason
from runtime.types.primitives import AccountId


class Currency(Protocol):
    """What Models needs of Balances."""

    def hold(self, reason: HoldReason, who: AccountId, amount: int) -> None: ...
    def release(self, reason: HoldReason, who: AccountId, amount: int) -> None: ...
    def held(self, reason: HoldReason, who: AccountId) -> int: ...


class PublishedVersion(Protocol):
    """What Models reads of a published version."""

    @property
    def rows(self) -> int: ...


class DatanetRegistry(Protocol):
    """What Models needs of Datanets."""

    def get_version(self, datanet: int, version: int) -> PublishedVersion | None: ...
    def may_read(self, account: AccountId, datanet: int) -> bool: ...
