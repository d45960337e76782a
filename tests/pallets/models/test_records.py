"""Rates that changed: vouchers of before are good while they can live, and no longer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pallets.models.records import FormerRates, Model
from runtime.shared.receipts import VOUCHER_BLOCKS_MAX
from runtime.types.primitives import AccountId, Hash

LIFE = VOUCHER_BLOCKS_MAX
PRICES = st.integers(0, 5)
CHANGES = st.lists(st.tuples(st.integers(1, 2 * LIFE), PRICES, PRICES), max_size=6)


def model(rate_in: int = 3, rate_out: int = 3) -> Model:
    return Model(
        owner=AccountId(b"o" * 32),
        name="model",
        base=Hash(bytes(32)),
        datanets=(),
        rows=0,
        rate_in_planck=rate_in,
        rate_out_planck=rate_out,
        latest=None,
        deployed=None,
        is_retired=False,
        created_at=0,
        deposit_planck=0,
    )


@given(CHANGES, st.integers(1, LIFE))
def test_a_voucher_by_the_price_list_of_its_day_is_good_to_its_end(
    changes: list[tuple[int, int, int]], life: int
) -> None:
    record, now = model(), 0
    signed: list[tuple[int, int, int]] = []
    for wait, rate_in, rate_out in [*changes, (1, 3, 3)]:
        # Signed in the last block in which this price list holds.
        signed.append((now + wait - 1 + life, record.rate_in_planck, record.rate_out_planck))
        now += wait
        record = record.with_rates(rate_in, rate_out, now)
        for expires_at, named_in, named_out in signed:
            if expires_at >= now:
                lowest_in, lowest_out = record.lowest_rates(expires_at)
                assert named_in >= lowest_in
                assert named_out >= lowest_out


@given(CHANGES)
def test_nobody_names_a_price_that_never_was_or_outlives_its_vouchers(
    changes: list[tuple[int, int, int]],
) -> None:
    record, now, prices = model(), 0, {3}
    for wait, rate_in, rate_out in changes:
        now += wait
        prices |= {rate_in, rate_out}
        record = record.with_rates(rate_in, rate_out, now)
        present = (rate_in, rate_out)
        assert record.lowest_rates(now + LIFE + 1) == present
        lowest = record.lowest_rates(now)
        assert set(lowest) <= prices
        assert all(low <= high for low, high in zip(lowest, present, strict=True))


def test_a_change_after_a_quiet_time_forgets_the_rates_before_the_last() -> None:
    record = model(1, 1).with_rates(5, 5, 10).with_rates(9, 9, 11 + LIFE)
    assert record.former_rates == FormerRates(5, 5, 11 + 2 * LIFE)
    record = model(1, 1).with_rates(5, 5, 10).with_rates(9, 9, 10 + LIFE)
    assert record.former_rates == FormerRates(1, 1, 10 + 2 * LIFE)
