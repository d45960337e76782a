import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.codec.scale import DecodeError, EncodeError
from runtime.types.era import ERA_CODEC, IMMORTAL, PERIOD_MAX, PERIOD_MIN, Era, mortal
from tests.conftest import VECTORS

EXTRINSICS = VECTORS / "extrinsics.json"
PERIODS = st.sampled_from([1 << power for power in range(2, 17)])


@pytest.mark.parametrize("vector", json.loads(EXTRINSICS.read_text())["eras"], ids=str)
def test_eras_equal_those_of_polkadot_js(vector: dict[str, Any]) -> None:
    era = mortal(vector["period"], vector["current"])
    assert "0x" + ERA_CODEC.encode(era).hex() == vector["hex"]
    assert era.birth(vector["current"]) == vector["birth"]
    assert era.death(vector["current"]) == vector["death"]


@pytest.mark.parametrize(
    ("period", "current", "era"),
    [
        (64, 42, Era(64, 42)),
        (32768, 20000, Era(32768, 20000)),
        (200, 513, Era(256, 1)),
        (2, 1, Era(4, 1)),
        (4, 5, Era(4, 1)),
        (1_000_000, 1_000_001, Era(65536, 1_000_001 % 65536 // 16 * 16)),
    ],
)
def test_eras_start_as_in_substrate(period: int, current: int, era: Era) -> None:
    assert mortal(period, current) == era


def test_encodings_are_those_of_substrate() -> None:
    assert ERA_CODEC.encode(IMMORTAL) == b"\0"
    assert ERA_CODEC.encode(mortal(64, 42)) == bytes((5 + 42 % 16 * 16, 42 // 16))
    assert ERA_CODEC.encode(mortal(32768, 20000)) == bytes((14 + 2500 % 16 * 16, 2500 // 16))


def test_birth_and_death_are_those_of_substrate() -> None:
    era = mortal(4, 6)
    for current in range(6, 10):
        assert (era.birth(current), era.death(current)) == (6, 10)
    assert era.death(10) != 10
    assert era.birth(5) != 6


def test_immortal_lives_from_genesis_for_ever() -> None:
    assert IMMORTAL.birth(100) == 0
    assert IMMORTAL.death(100) == 2**64 - 1


@given(st.integers(0, 2 * PERIOD_MAX), st.integers(0, 2**32 - 1))
def test_an_era_begins_at_or_before_the_current_block_and_includes_it(
    period: int, current: int
) -> None:
    era = mortal(period, current)
    assert PERIOD_MIN <= era.period <= PERIOD_MAX
    assert era.birth(current) <= current < era.death(current)
    assert current - era.birth(current) < max(era.period >> 12, 1)
    assert ERA_CODEC.decode(ERA_CODEC.encode(era)) == era


@given(st.binary(max_size=3))
def test_whatever_decodes_is_the_encoding_of_its_era(raw: bytes) -> None:
    try:
        era = ERA_CODEC.decode(raw)
    except DecodeError:
        return
    assert ERA_CODEC.encode(era) == raw


@pytest.mark.parametrize("raw", ["", "01", "1000", "4100", "f1ff", "000000"])
def test_what_is_no_era_is_refused(raw: str) -> None:
    with pytest.raises(DecodeError):
        ERA_CODEC.decode(bytes.fromhex(raw))


@given(PERIODS, st.integers(0, PERIOD_MAX))
def test_a_phase_is_within_the_period_and_a_multiple_of_the_quantum(
    period: int, phase: int
) -> None:
    era = Era(period, phase)
    if phase < period and phase % max(period >> 12, 1) == 0:
        assert ERA_CODEC.decode(ERA_CODEC.encode(era)) == era
    else:
        with pytest.raises(EncodeError):
            ERA_CODEC.encode(era)


@pytest.mark.parametrize("period", [1, 2, 3, 5, 100, PERIOD_MAX * 2])
def test_a_period_that_is_no_power_of_two_is_refused(period: int) -> None:
    with pytest.raises(EncodeError):
        ERA_CODEC.encode(Era(period, 0))
