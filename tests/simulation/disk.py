"""The disk of a simulated node: its write-ahead log, and what a crash leaves of it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from consensus.write_ahead_log import frame, read_log, write_log


class Disk:
    """A log whose synced records survive, and of which a crash tears the last write."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.history: list[bytes] = []
        """All that was ever synced, for the judges of forks."""
        self.is_full = False

    def append(self, records: Sequence[bytes]) -> None:
        """Write and sync."""
        assert not self.is_full, "a full disk takes nothing"
        self.records += records
        self.history += records

    def tear(self, records: Sequence[bytes], rng: Random) -> None:
        """Die while writing: some bytes of the new frames are there, the rest is lost."""
        log = write_log(self.records)
        added = bytearray()
        for record in records:
            added += frame(record, len(log) + len(added))
        kept = log + bytes(added[: rng.randrange(len(added) + 1)])
        found, intact = read_log(kept)
        assert intact >= len(log), "what was synced was lost"
        assert list(found[: len(self.records)]) == self.records, "the log reads otherwise"
        self.history += found[len(self.records) :]
        self.records = list(found)

    def read(self) -> tuple[bytes, ...]:
        """Open the log after a start."""
        return tuple(self.records)

    def clear(self) -> None:
        """Drop everything: the epoch is over."""
        self.records.clear()
