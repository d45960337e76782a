"""What is known of an era, in the storage that wallets of Substrate chains read.

pallet_staking keeps the exposure of a validator in pages, its terms beside it, and the points of an
era in one map. Here are the records of those shapes, and the two views by which the rest of this
pallet reads and writes them: an `Exposure` as a whole, and the points of one validator.

One page holds all that stand behind a validator: there are at most NOMINATORS_MAX of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pallets.staking.records import Exposure, IndividualExposure, ValidatorEntry, ValidatorPrefs
from runtime.codec.scale import scale, u32, u64
from runtime.codec.shape import rust
from runtime.types.primitives import AccountId, CompactBalance

if TYPE_CHECKING:
    from pallets.staking import Staking

PAGE: Final = 0
"""The only page of an exposure."""

EraKey = tuple[u32, AccountId]
"""An era and an account, as the key of storage."""


@scale
class ActiveEraInfo:
    """The era of the block that is executed, and when it began: milliseconds since 1970.

    The first era has no beginning, for genesis has no time.
    """

    index: u32
    start: u64 | None = None


@scale
class PagedExposureMetadata:
    """The stake behind a validator in an era, and how many stand behind it on how many pages."""

    total: CompactBalance
    own: CompactBalance
    nominator_count: u32
    page_count: u32


@scale
class PagedIndividualExposure:
    """A part of a nominator's stake."""

    who: AccountId
    value: CompactBalance


@scale
class ExposurePage:
    """Those who stand behind a validator."""

    page_total: CompactBalance
    others: tuple[PagedIndividualExposure, ...]


@rust("BTreeMap", bare=True, K=AccountId, V=u32)
@scale
class PointsByValidator:
    """Points by validator, sorted by account."""

    entries: tuple[tuple[AccountId, u32], ...] = ()


@scale
class EraRewardPoints:
    """The points of an era: one for each block."""

    total: u32 = 0
    individual: PointsByValidator = PointsByValidator()


@dataclass(frozen=True, slots=True)
class Exposures:
    """The exposures of all eras, by era and validator."""

    staking: Staking

    def get(self, key: tuple[int, AccountId]) -> Exposure | None:
        """Return what stood behind a validator, None where it was not elected."""
        whole = self.staking.eras_stakers_overview.get(key)
        if whole is None:
            return None
        page = self.staking.eras_stakers_paged.get((*key, PAGE))
        assert page is not None, "an exposure has its page"
        others = tuple(IndividualExposure(other.who, other.value) for other in page.others)
        prefs = self.staking.eras_validator_prefs.get(key)
        return Exposure(whole.total, whole.own, prefs.commission, others)

    def require(self, key: tuple[int, AccountId]) -> Exposure:
        """Return what stands behind an elected validator."""
        exposure = self.get(key)
        assert exposure is not None, "who is elected has an exposure"
        return exposure

    def put(self, key: tuple[int, AccountId], exposure: Exposure) -> None:
        """Note what stands behind an elected validator."""
        others = tuple(PagedIndividualExposure(o.who, o.value) for o in exposure.others)
        whole = PagedExposureMetadata(exposure.total, exposure.own, len(others), 1)
        page = ExposurePage(exposure.total - exposure.own, others)
        self.staking.eras_stakers_overview.put(key, whole)
        self.staking.eras_stakers_paged.put((*key, PAGE), page)
        self.staking.eras_validator_prefs.put(key, ValidatorPrefs(exposure.commission))

    def remove(self, key: tuple[int, AccountId]) -> None:
        """Forget an exposure."""
        self.staking.eras_stakers_overview.remove(key)
        self.staking.eras_stakers_paged.remove((*key, PAGE))
        self.staking.eras_validator_prefs.remove(key)

    def items(self) -> Iterator[tuple[tuple[int, AccountId], Exposure]]:
        """Yield all exposures by era and validator."""
        for key, _ in self.staking.eras_stakers_overview.items():
            yield key, self.require(key)


def points_of(staking: Staking, era: int) -> dict[AccountId, int]:
    """Return the points of an era by validator."""
    return dict(staking.eras_reward_points.get(era).individual.entries)


def add_point(staking: Staking, era: int, validator: AccountId) -> None:
    """Give a validator one more point."""
    points = points_of(staking, era)
    points[validator] = points.get(validator, 0) + 1
    individual = PointsByValidator(tuple(sorted(points.items())))
    staking.eras_reward_points.put(era, EraRewardPoints(sum(points.values()), individual))


def note_slash(
    staking: Staking, era: int, validator: AccountId, who: AccountId, fraction: int, amount: int
) -> None:
    """Note what a staker lost for an era behind a validator."""
    if who == validator:
        worst, sum_planck = staking.validator_slash_in_era.get((era, who)) or (0, 0)
        noted = max(worst, fraction), sum_planck + amount
        staking.validator_slash_in_era.put((era, who), noted)
    else:
        lost = staking.nominator_slash_in_era.get((era, who)) or 0
        staking.nominator_slash_in_era.put((era, who), lost + amount)


def size_of(staking: Staking, era: int) -> tuple[int, int]:
    """Return how many validators and how many slashes are known of an era."""
    of_validators = sum(1 for _ in staking.validator_slash_in_era.keys(era))
    of_nominators = sum(1 for _ in staking.nominator_slash_in_era.keys(era))
    return len(staking.era_validators.get(era)), of_validators + of_nominators


def forget(staking: Staking, era: int) -> None:
    """Remove all that is known of an era."""
    for validator in staking.era_validators.get(era):
        staking.exposures.remove((era, validator))
        staking.claimed_rewards.remove((era, validator))
    for key in list(staking.validator_slash_in_era.keys(era)):
        staking.validator_slash_in_era.remove(key)
    for key in list(staking.nominator_slash_in_era.keys(era)):
        staking.nominator_slash_in_era.remove(key)
    staking.eras_reward_points.remove(era)
    staking.eras_validator_reward.remove(era)
    staking.era_validators.remove(era)


def entry_of(staking: Staking, era: int, who: AccountId, is_elected: bool) -> ValidatorEntry:
    """Return a validator as clients see it."""
    exposure, prefs = staking.exposures.get((era, who)), staking.prefs_of(who)
    ledger = staking.ledger.get(who)
    own = exposure.own if exposure else ledger.active if ledger else 0
    return ValidatorEntry(
        stash=who,
        commission=prefs.commission if prefs else exposure.commission if exposure else 0,
        own=own,
        total=exposure.total if exposure else own,
        points=points_of(staking, era).get(who, 0),
        nominators=len(exposure.others) if exposure else 0,
        is_elected=is_elected,
        is_candidate=prefs is not None,
    )
