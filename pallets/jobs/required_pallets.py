"""The parts of other pallets that Jobs calls."""

from __future__ import annotations

from typing import Protocol

from pallets.balances import HoldReason
from pallets.required_system import BlockHashes, BlockNumber, Pots
from runtime.shared.documents import DatanetVersion, Indexed, Settle, Settled, Trained
from runtime.types.primitives import AccountId, Hash


class Currency(Protocol):
    """The part of Balances that Jobs calls."""

    def held(self, reason: HoldReason, who: AccountId) -> int: ...
    def hold(self, reason: HoldReason, who: AccountId, amount: int) -> None: ...
    def release(self, reason: HoldReason, who: AccountId, amount: int) -> None: ...
    def transfer_on_hold(
        self, reason: HoldReason, who: AccountId, dest: AccountId, amount: int
    ) -> None: ...
    def burn_from(self, who: AccountId, amount: int, *, keep_alive: bool = False) -> None: ...
    def slash_held(self, reason: HoldReason, who: AccountId, amount: int) -> int: ...


class Blocks(BlockHashes, BlockNumber, Pots, Protocol):
    """The part of System that Jobs calls."""


class Beacon(Protocol):
    """The part of Randomness that Jobs calls."""

    def random(self, subject: bytes) -> Hash: ...


class PublishedVersion(Protocol):
    """The part of a published version that Jobs reads."""

    @property
    def rows(self) -> int: ...


class DatanetRegistry(Protocol):
    """The part of Datanets that Jobs calls."""

    def get_version(self, datanet: int, version: int) -> PublishedVersion | None: ...
    def may_read(self, account: AccountId, datanet: int) -> bool: ...


class ModelRecord(Protocol):
    """The part of a model that Jobs reads."""

    @property
    def owner(self) -> AccountId: ...
    @property
    def base(self) -> Hash: ...
    @property
    def datanets(self) -> tuple[DatanetVersion, ...]: ...


class BaseRecord(Protocol):
    """The part of a base that Jobs reads."""

    @property
    def parameters(self) -> int: ...
    @property
    def context_tokens(self) -> int: ...


class ModelRegistry(Protocol):
    """The part of Models that Jobs calls. Recording may raise an Error: then the job fails."""

    def get(self, model: int) -> ModelRecord | None: ...
    def base(self, hash: Hash) -> BaseRecord | None: ...
    def may_use(self, account: AccountId, model: int) -> bool: ...
    def record_trained(self, model: int, job: int, output: Trained) -> None: ...
    def record_indexed(
        self, model: int, job: int, output: Indexed, train_job: int | None
    ) -> None: ...


class AttributionLedger(Protocol):
    """The part of Attribution that Jobs calls."""

    def record_indexed(self, model: int, job: int, output: Indexed) -> None: ...
    def record_settled(self, job: int, spec: Settle, output: Settled) -> None: ...
    def record_settlement_failed(self, job: int, spec: Settle, is_withheld: bool) -> None: ...
