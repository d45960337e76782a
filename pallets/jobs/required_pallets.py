"""What Jobs needs of the pallets around it, as narrow as it needs it."""

from __future__ import annotations

from typing import Protocol

from pallets.balances import HoldReason
from pallets.required_system import BlockHashes, BlockNumber, Pots
from runtime.shared.documents import DatanetVersion, Indexed, Settled, Trained
from runtime.types.primitives import AccountId, Hash


class Currency(Protocol):
    """What Jobs needs of Balances."""

    def held(self, reason: HoldReason, who: AccountId) -> int: ...
    def hold(self, reason: HoldReason, who: AccountId, amount: int) -> None: ...
    def release(self, reason: HoldReason, who: AccountId, amount: int) -> None: ...
    def transfer_on_hold(
        self, reason: HoldReason, who: AccountId, dest: AccountId, amount: int
    ) -> None: ...
    def slash_held(self, reason: HoldReason, who: AccountId, amount: int) -> int: ...


class Blocks(BlockHashes, BlockNumber, Pots, Protocol):
    """The part of System that Jobs calls."""


class Beacon(Protocol):
    """What Jobs needs of Randomness."""

    def random(self, subject: bytes) -> Hash: ...


class PublishedVersion(Protocol):
    """What Jobs reads of a published version."""

    @property
    def rows(self) -> int: ...


class DatanetRegistry(Protocol):
    """What Jobs needs of Datanets."""

    def get_version(self, datanet: int, version: int) -> PublishedVersion | None: ...
    def may_read(self, account: AccountId, datanet: int) -> bool: ...


class ModelRecord(Protocol):
    """What Jobs reads of a model."""

    @property
    def owner(self) -> AccountId: ...
    @property
    def base(self) -> Hash: ...
    @property
    def datanets(self) -> tuple[DatanetVersion, ...]: ...


class ModelRegistry(Protocol):
    """What Jobs needs of Models. Recording may raise a Error: then the job fails."""

    def get(self, model: int) -> ModelRecord | None: ...
    def may_use(self, account: AccountId, model: int) -> bool: ...
    def record_trained(self, model: int, job: int, output: Trained) -> None: ...
    def record_indexed(
        self, model: int, job: int, output: Indexed, train_job: int | None
    ) -> None: ...


class AttributionLedger(Protocol):
    """What Jobs needs of Attribution."""

    def record_indexed(self, model: int, job: int, output: Indexed) -> None: ...
    def record_settled(self, model: int, epoch: int, output: Settled) -> None: ...
    def record_settlement_failed(self, model: int, epoch: int) -> None: ...
