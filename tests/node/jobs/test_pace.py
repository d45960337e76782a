"""The pace of a job: what it says about the deadline, and when it says nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.jobs.pace import (
    DOUBT,
    MEASURED_BLOCKS,
    REPORT_BLOCKS,
    Pace,
    Speed,
    is_hopeless,
    last_block,
)


def paced(blocks: int, steps: int, of: int) -> Pace:
    pace = Pace()
    pace.record(0, 0, of)
    pace.record(blocks, steps, of)
    return pace


def test_a_job_needs_as_many_blocks_as_its_rate_says() -> None:
    assert paced(10, 100, 1_000).blocks_needed(10) == 90
    assert paced(10, 99, 1_000).blocks_needed(10) == 92
    assert paced(10, 1_000, 1_000).blocks_needed(10) == 0


def test_nothing_is_said_before_enough_was_measured() -> None:
    assert Pace().blocks_needed(100) is None
    assert paced(1, 1, 10**9).blocks_needed(MEASURED_BLOCKS - 1) is None
    assert paced(1, 1, 10**9).blocks_needed(MEASURED_BLOCKS) is not None


def test_a_job_that_stands_still_needs_ever_more_blocks() -> None:
    pace = paced(10, 10, 100)
    assert (pace.blocks_needed(20) or 0) > (pace.blocks_needed(10) or 0)


def test_each_scale_is_measured_anew() -> None:
    pace = paced(10, 1_000, 1_000)
    pace.record(11, 1, 32)
    assert (pace.began, pace.scales) == (11, 2)
    assert pace.blocks_needed(20) is None, "a thousand steps of the other scale say nothing"
    pace.record(21, 11, 32)
    assert pace.blocks_needed(21) == 21
    pace.record(22, 1, 32)
    assert pace.scales == 3, "steps that begin again are others"


@given(st.integers(1, 100), st.integers(0, 1_000), st.integers(0, 10_000))
def test_a_job_is_given_up_near_its_deadline_whatever_its_pace(
    blocks: int, steps: int, deadline: int
) -> None:
    last = last_block(0, deadline)
    assert is_hopeless(last, last, paced(blocks, steps, 1_000))
    assert is_hopeless(last, last, None)
    assert last < deadline or deadline == 0 or last == deadline - 1


@pytest.mark.parametrize(("deadline", "kept"), [(4_000, REPORT_BLOCKS), (40, 10), (4, 1), (2, 1)])
def test_a_short_commit_phase_keeps_a_part_of_itself_for_the_report(
    deadline: int, kept: int
) -> None:
    assert last_block(0, deadline) == deadline - kept


def test_a_job_is_not_given_up_for_a_pace_that_may_recover() -> None:
    pace = paced(10, 10, 110)  # 100 blocks more
    assert not is_hopeless(10, 10 + 100 // DOUBT, pace)
    assert is_hopeless(10, 10 + 100 // DOUBT - 1, pace)


def test_speed_counts_jobs_that_took_long_enough() -> None:
    speed = Speed()
    speed.record(units=1, blocks=MEASURED_BLOCKS - 1)
    assert not speed.is_too_slow(10**9, 1), "nothing is measured"
    speed.record(units=10, blocks=100)
    assert not speed.is_too_slow(100, 1_000 // DOUBT)
    assert speed.is_too_slow(101, 1_000 // DOUBT)
    assert speed.is_too_slow(1, -5)
