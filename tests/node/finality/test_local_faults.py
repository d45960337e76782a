"""LocalFaults: a disk that refuses delays a write, and clears when it takes it."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from node.finality import local_faults as faults_module
from node.finality.local_faults import RECENT_SECONDS, LocalFaults
from runtime.types.primitives import Hash
from tests.node.support.small_node import run


def test_a_write_is_tried_until_the_disk_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults_module, "WRITE_AGAIN_SECONDS", 0.01)
    faults, written = LocalFaults(), list[str]()
    refusals = [OSError(28, "No space left on device")] * 3

    def write(text: str) -> None:
        if refusals:
            raise refusals.pop()
        written.append(text)

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(faults.write_until_done, write, "vote")
            while not faults.log_failure:
                await trio.sleep(0)
            assert "No space left" in faults.log_failure
        assert written == ["vote"]
        assert faults.log_failure == ""

    run(scenario)


def test_what_finality_has_overtaken_is_no_obstacle() -> None:
    faults = LocalFaults({Hash(bytes([n]) * 32): n for n in range(1, 6)})
    faults.forget_blocks(3)
    assert sorted(faults.missing_blocks.values()) == [4, 5]


def test_a_block_ahead_of_the_clock_tells_of_it_for_a_while(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def scenario() -> None:
        faults = LocalFaults()
        assert faults.ahead_ms == 0
        faults.note_ahead(600_000)
        assert faults.ahead_ms == 600_000
        await trio.sleep(RECENT_SECONDS + 1)
        assert faults.ahead_ms == 0

    trio.run(scenario, clock=autojump_clock)


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    return trio.testing.MockClock(autojump_threshold=0)
