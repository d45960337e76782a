"""Which extrinsics' signatures this node has checked, so that no signature is checked twice.

A mortal extrinsic's signature covers the hash of its birth block, which its bytes do not name. So
what was checked is a pair, extrinsic and birth block: on a branch with another block at that height
the signature does not hold, so a check there finds another birth and verifies again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from runtime.codec.scale import DecodeError
from runtime.frame.extrinsic import Additional, Envelope, Extrinsic, ExtrinsicCodec
from runtime.frame.validity import BadProof, TransactionRefused
from runtime.types.primitives import Hash

SIGNATURES_MAX: Final = 1 << 16
"""Several times what the pool holds; the oldest are forgotten."""


class CheckedSignatures:
    """Extrinsic hash -> the birth block's hash under which its signature held."""

    def __init__(self) -> None:
        self.births: dict[Hash, Hash] = {}
        """Read from other threads as well, only by `get`."""

    def holds(self, extrinsic: Hash, birth: Hash | None) -> bool:
        """Return whether a signature was found to hold under this birth block."""
        return birth is not None and self.births.get(extrinsic) == birth

    def note(self, extrinsic: Hash, birth: Hash) -> None:
        """Remember that a signature holds."""
        self.births.pop(extrinsic, None)
        self.births[extrinsic] = birth
        if len(self.births) > SIGNATURES_MAX:
            del self.births[next(iter(self.births))]


@dataclass(frozen=True, slots=True)
class Opened:
    """What an envelope turned out to be, and how long a thread took to find that."""

    found: Extrinsic | TransactionRefused | DecodeError
    checking_seconds: float


@dataclass(frozen=True, slots=True)
class Opening:
    """An envelope to open; without `additional` its signature is checked already, or never will."""

    envelope: Envelope
    additional: Additional | None


def open_envelopes(
    codec: ExtrinsicCodec, work: Sequence[Opening], clock: Callable[[], float]
) -> list[Opened]:
    """Check signatures, and decode the calls of those that hold. Meant for a worker thread."""
    results = []
    for opening in work:
        started = clock()
        found = _open(codec, opening)
        results.append(Opened(found, clock() - started))
    return results


def _open(codec: ExtrinsicCodec, opening: Opening) -> Extrinsic | TransactionRefused | DecodeError:
    if opening.additional is not None and not opening.envelope.is_verified(opening.additional):
        return TransactionRefused(BadProof())
    try:
        return codec.decode_call(opening.envelope)
    except DecodeError as error:
        return error
