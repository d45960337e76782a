"""What a node asks of others' blocks besides the runtime's rules: their time, and not twice.

Time is no rule of the runtime, which has no clock: a block from the future is not voted for now
and may be later, and a block that others made final is final whatever this machine's clock says.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from runtime.codec.scale import DecodeError
from runtime.frame.executive import BodyRefusedError, InvalidBlockError
from runtime.frame.machine import Machine
from runtime.types.primitives import Hash, Header

TIMESTAMP_AHEAD_MS_MAX: Final = 30_000
INVALID_MAX: Final = 1_024


class TimestampAheadError(Exception):
    """A block's time is too far after this machine's, by `ahead_ms`."""

    def __init__(self, ahead_ms: int) -> None:
        super().__init__(
            f"The block's time is {ahead_ms} ms ahead of this machine's clock; at most "
            f"{TIMESTAMP_AHEAD_MS_MAX} ms are accepted. Set the clock of this machine by NTP if "
            "it is the one that is wrong."
        )
        self.ahead_ms = ahead_ms


def timestamp_of(machine: Machine, extrinsics: Sequence[bytes]) -> int | None:
    """Return the time that a block's inherents set, in milliseconds; None where they set none."""
    for raw in extrinsics:
        try:
            extrinsic = machine.extrinsics.decode(raw)
        except DecodeError:
            return None
        if extrinsic.signed is not None:
            return None
        if (extrinsic.call.pallet, extrinsic.call.name) == ("Timestamp", "set"):
            (now,) = extrinsic.call.arguments
            return int(now)
    return None


def check_timestamp(
    machine: Machine, extrinsics: Sequence[bytes], clock_ms: Callable[[], int]
) -> None:
    """Refuse a block that is too far ahead of the clock. Raises TimestampAheadError."""
    now, stamp = clock_ms(), timestamp_of(machine, extrinsics)
    if stamp is not None and stamp > now + TIMESTAMP_AHEAD_MS_MAX:
        raise TimestampAheadError(stamp - now)


class InvalidBlocks:
    """Hashes of blocks that were executed and found invalid, so that they are not executed again.

    A refused body says nothing of a header: its sender may have changed it on the way.
    """

    def __init__(self) -> None:
        self._reasons: OrderedDict[Hash, str] = OrderedDict()

    def check(self, header: Header) -> None:
        """Refuse a known block, or a child of one. Raises InvalidBlockError."""
        reason = self._reasons.get(header.hash)
        if reason is not None:
            raise InvalidBlockError(reason)
        if header.parent_hash in self._reasons:
            self._note(header, f"the parent of block {header.number} is invalid")
            raise InvalidBlockError(self._reasons[header.hash])

    def note(self, header: Header, error: InvalidBlockError) -> None:
        """Remember why a block is invalid."""
        if not isinstance(error, BodyRefusedError):
            self._note(header, str(error))

    def _note(self, header: Header, reason: str) -> None:
        self._reasons[header.hash] = reason
        if len(self._reasons) > INVALID_MAX:
            self._reasons.popitem(last=False)
