"""Mortality: for which blocks a signed extrinsic is valid (sp_runtime::generic::era::Era)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from runtime.codec.scale import Codec, DecodeError, EncodeError, declare
from runtime.codec.shape import Outer

PERIOD_MIN: Final = 4
PERIOD_MAX: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Era:
    """Valid for `period` blocks from the latest block whose number is `phase` modulo `period`.

    A period of 0 means immortal. Periods are powers of two from 4 to 65536 blocks, and phases are
    multiples of the quantum, period >> 12 (at least 1).
    """

    period: int = 0
    phase: int = 0

    def birth(self, current: int) -> int:
        """Return the number of the block whose hash is signed, for a current block number."""
        if self.period == 0:
            return 0
        return (max(current, self.phase) - self.phase) // self.period * self.period + self.phase

    def death(self, current: int) -> int:
        """Return the first block number at which the extrinsic is no longer valid."""
        return 2**64 - 1 if self.period == 0 else self.birth(current) + self.period


IMMORTAL: Final = Era()


def mortal(period: int, current: int) -> Era:
    """Return the era of at least `period` blocks that starts at block `current`."""
    rounded = min(max(1 << max(period - 1, 1).bit_length(), PERIOD_MIN), PERIOD_MAX)
    quantum = max(rounded >> 12, 1)
    return Era(rounded, current % rounded // quantum * quantum)


def _write(era: Era, put: Callable[[bytes], Any]) -> None:
    if era.period == 0:
        put(b"\0")
        return
    period, phase = era.period, era.phase
    quantum = max(period >> 12, 1)
    power = PERIOD_MIN <= period <= PERIOD_MAX and period & (period - 1) == 0
    if not power or not 0 <= phase < period or phase % quantum:
        raise EncodeError(f"{era} is no era")
    put((period.bit_length() - 2 | phase // quantum << 4).to_bytes(2, "little"))


def _read(data: bytes, at: int, depth: int) -> tuple[Era, int]:
    if data[at] == 0:
        return IMMORTAL, at + 1
    encoded = data[at] | data[at + 1] << 8
    period = 2 << (encoded & 15)
    phase = (encoded >> 4) * max(period >> 12, 1)
    if period < PERIOD_MIN or phase >= period:
        raise DecodeError(f"{encoded:#06x} is no era")
    return Era(period, phase), at + 2


ERA_SHAPE: Final = Outer("era")
ERA_CODEC: Final[Codec[Era]] = Codec(ERA_SHAPE, _write, _read)
declare(Era, ERA_SHAPE)
