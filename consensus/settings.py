"""The times of the engine, all derived from one bound on the delay of a message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PAUSE_DOUBLINGS_MAX: Final = 3
"""How often the pause between two attempts doubles."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Times: `delay_ms` is D, the delay of a message that a healthy network stays below."""

    delay_ms: int = 1000

    @property
    def leader_ms(self) -> int:
        """How long a view waits for its proposal."""
        return 2 * self.delay_ms

    @property
    def advance_ms(self) -> int:
        """How long a view waits for its NOTARIZATION."""
        return 3 * self.delay_ms

    @property
    def retry_ms(self) -> int:
        """How often a view that lasts repeats its votes and certificates."""
        return 2 * self.delay_ms

    def pause_ms(self, failures: int) -> int:
        """Return the pause before the next attempt to get a block, after failed ones.

        It grows from D to 8 D, and there is always another attempt: what is certified is needed.
        """
        return self.delay_ms << min(failures - 1, PAUSE_DOUBLINGS_MAX)
