"""The parts of other pallets that Inference calls."""

from __future__ import annotations

from typing import Protocol

from pallets.balances import HoldReason
from pallets.required_system import BlockHashes, BlockNumber, Pots
from runtime.types.primitives import AccountId


class Currency(Protocol):
    """The part of Balances that Inference calls."""

    existential_deposit: int

    def free(self, who: AccountId) -> int: ...
    def held(self, reason: HoldReason, who: AccountId) -> int: ...
    def hold(self, reason: HoldReason, who: AccountId, amount: int) -> None: ...
    def release(self, reason: HoldReason, who: AccountId, amount: int) -> None: ...
    def burn_from(self, who: AccountId, amount: int) -> None: ...
    def slash_held(self, reason: HoldReason, who: AccountId, amount: int) -> int: ...
    def transfer_on_hold(
        self, reason: HoldReason, who: AccountId, dest: AccountId, amount: int
    ) -> None: ...


class Blocks(BlockHashes, BlockNumber, Pots, Protocol):
    """The part of System that Inference calls."""


class ModelRecord(Protocol):
    """The part of a model that Inference reads."""

    @property
    def owner(self) -> AccountId: ...
    @property
    def rate_in_planck(self) -> int: ...
    @property
    def rate_out_planck(self) -> int: ...
    @property
    def is_retired(self) -> bool: ...
    def lowest_rates(self, expires_at: int) -> tuple[int, int]: ...


class ModelRegistry(Protocol):
    """The part of Models that Inference calls."""

    def get(self, model: int) -> ModelRecord | None: ...
    def may_use(self, account: AccountId, model: int) -> bool: ...


class ContributorFund(Protocol):
    """The part of Attribution that Inference calls."""

    def fund(self, model: int, server: AccountId, redeemed_planck: int, part_planck: int) -> None:
        """Count what Inference has paid into ATTRIBUTION_POT just before."""

    def current_epoch(self, model: int, server: AccountId) -> int: ...
    def first_unsettled_epoch(self, model: int, server: AccountId) -> int: ...
    def is_settling(self, server: AccountId) -> bool: ...
    def has_opened(self, model: int) -> bool: ...
    def give_back(
        self, model: int, server: AccountId, redeemed_planck: int, asker: AccountId
    ) -> int: ...
