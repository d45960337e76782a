"""The stored values of Models: bases, models, trainings, deployments; and the limits on them."""

from __future__ import annotations

import enum
from dataclasses import replace
from typing import Final

from runtime.codec.scale import scale, u32, u64
from runtime.shared.documents import DatanetVersion, Trained
from runtime.shared.receipts import VOUCHER_BLOCKS_MAX
from runtime.types.primitives import OPEN, AccountId, Balance, Hash

CREATION_DEPOSIT: Final = 10 * OPEN
RATE_MAX: Final = 1_000_000 * OPEN
"""Planck per 1,000 tokens; bounds every quote far below 2**128."""
BASE_NAME_BYTES_MAX: Final = 128
PAGE_MAX: Final = 256


@scale
class Base:
    """A base model that executors have: its files are named by a content hash."""

    name: str
    parameters: u64
    context_tokens: u32


@scale
class Training:
    """The latest settled training of a model; `index_job` once its rows are sketched."""

    train_job: u32
    trained: Trained
    index_job: u32 | None


@scale
class Deployment:
    """The training that a published model serves; a later training does not change it."""

    training: Training
    published_at: u32

    @property
    def adapter(self) -> Hash:
        """The adapter that answers are made with."""
        return self.training.trained.adapter


@scale
class FormerRates:
    """The rates of a model before their last change; vouchers that end by `until` may still name
    them. After several changes in a short time, the lowest of each."""

    rate_in_planck: Balance
    rate_out_planck: Balance
    until: u32


class Stage(enum.IntEnum):
    """How far a model has come."""

    Created = 0
    Trained = 1
    Indexed = 2
    Published = 3
    Retired = 4


@scale
class Model:
    """A LoRA model on a base, trained on published datanet versions."""

    owner: AccountId
    name: str
    base: Hash
    datanets: tuple[DatanetVersion, ...]
    rows: u32
    rate_in_planck: Balance
    rate_out_planck: Balance
    latest: Training | None
    deployed: Deployment | None
    is_retired: bool
    created_at: u32
    deposit_planck: Balance
    former_rates: FormerRates | None = None

    def lowest_rates(self, expires_at: int) -> tuple[int, int]:
        """Return the lowest rates, in and out, that a voucher ending at a block may name."""
        former = self.former_rates
        if former is None or expires_at > former.until:
            return self.rate_in_planck, self.rate_out_planck
        return (
            min(self.rate_in_planck, former.rate_in_planck),
            min(self.rate_out_planck, former.rate_out_planck),
        )

    def with_rates(self, rate_in_planck: int, rate_out_planck: int, now: int) -> Model:
        """Return the model with other rates from block `now` on."""
        lowest_in, lowest_out = self.lowest_rates(now)
        former = FormerRates(lowest_in, lowest_out, now + VOUCHER_BLOCKS_MAX)
        return replace(
            self,
            rate_in_planck=rate_in_planck,
            rate_out_planck=rate_out_planck,
            former_rates=former,
        )

    @property
    def trainings(self) -> tuple[Training, ...]:
        """The trainings that may still be asked for: the deployed one and the latest."""
        deployed = () if self.deployed is None else (self.deployed.training,)
        return deployed if self.latest is None else (*deployed, self.latest)

    @property
    def answering(self) -> Training | None:
        """The training whose adapter answers: the deployed one, before that the latest where it is
        indexed."""
        if self.deployed is not None:
            return self.deployed.training
        return self.latest if self.latest and self.latest.index_job is not None else None

    @property
    def stage(self) -> Stage:
        """How far the model has come; a published one stays so while it is trained again."""
        if self.is_retired:
            return Stage.Retired
        if self.deployed is not None:
            return Stage.Published
        if self.latest is None:
            return Stage.Created
        return Stage.Trained if self.latest.index_job is None else Stage.Indexed


@scale
class ModelInfo:
    """A model with its number and stage, as clients ask for it."""

    id: u32
    stage: Stage
    model: Model


@scale
class Genesis:
    """Base models of the chain spec by content hash."""

    bases: tuple[tuple[Hash, Base], ...] = ()
