"""Which extrinsics' signatures this node has checked, so that no signature is checked twice.

A mortal extrinsic's signature covers the hash of its birth block, which its bytes do not name. So
what was checked is a pair, extrinsic and birth block: on a branch with another block at that height
the signature does not hold, so a check there finds another birth and verifies again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from runtime.frame.extrinsic import Additional, Extrinsic
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


def check_signatures(work: Sequence[tuple[Extrinsic, Additional]]) -> list[bool]:
    """Return of each extrinsic whether its signature holds. Meant for a worker thread."""
    return [extrinsic.is_verified(additional) for extrinsic, additional in work]
