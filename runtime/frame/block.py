"""A block after its execution, and the rules on its shape, length and weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from runtime.errors import OpenLedgerError
from runtime.frame.fees import BLOCK_LENGTH_MAX, BLOCK_WEIGHT_MAX, EXTRINSIC_PERCENT, NORMAL_PERCENT
from runtime.frame.validity import ExhaustsResources, TransactionRefused
from runtime.trie.backend import Former
from runtime.trie.trie import ordered_root
from runtime.types.primitives import Hash, Header, Weight

BLOCK_EXTRINSICS_MAX: Final = 20_000


class InvalidBlockError(OpenLedgerError):
    """A block breaks a rule of the runtime; the message names the rule."""


class BodyRefusedError(InvalidBlockError):
    """These extrinsics are too many, too long or others than the header's; it may have others."""


@dataclass(frozen=True, slots=True)
class ExecutedBlock:
    """An executed and sealed block, with everything that committing it needs.

    `changes` and `nodes` are what it writes to state and trie, by key and by path; `former` is the
    part of the state before it that was read on the way. `refused` names the candidates that an
    author left out.
    """

    header: Header
    extrinsics: tuple[bytes, ...]
    changes: Mapping[bytes, bytes | None] = field(repr=False)
    nodes: Mapping[bytes, bytes | None] = field(repr=False)
    refused: tuple[tuple[Hash, TransactionRefused], ...] = ()
    former: Former = field(default_factory=Former, repr=False)

    @property
    def hash(self) -> Hash:
        """The block hash."""
        return self.header.hash


def check_size(weight: Weight, length: int) -> None:
    """Refuse an extrinsic that no block has room for: it would wait in the pool for ever.

    Raises TransactionRefused.
    """
    if not fits(weight, EXTRINSIC_PERCENT) or length > BLOCK_LENGTH_MAX * EXTRINSIC_PERCENT // 100:
        raise TransactionRefused(ExhaustsResources())


def check_length(length: int) -> None:
    """Refuse extrinsics of a length that leaves inherents no room. Raises TransactionRefused."""
    if length > BLOCK_LENGTH_MAX * NORMAL_PERCENT // 100:
        raise TransactionRefused(ExhaustsResources())


def fits(weight: Weight, percent: int) -> bool:
    """Return whether a weight is within a part of a block's weight."""
    return (
        weight.ref_time <= BLOCK_WEIGHT_MAX.ref_time * percent // 100
        and weight.proof_size <= BLOCK_WEIGHT_MAX.proof_size * percent // 100
    )


def check_shape(header: Header, extrinsics: Sequence[bytes], parent: Header) -> None:
    """Check what a block says of itself: its place, its length, its extrinsics root.

    Raises InvalidBlockError, BodyRefusedError.
    """
    if header.number != parent.number + 1 or header.parent_hash != parent.hash:
        raise InvalidBlockError(f"block {header.number} does not follow {parent.number}")
    if len(extrinsics) > BLOCK_EXTRINSICS_MAX:
        raise BodyRefusedError(f"a block has at most {BLOCK_EXTRINSICS_MAX} extrinsics")
    if sum(map(len, extrinsics)) > BLOCK_LENGTH_MAX:
        raise BodyRefusedError(f"a block has at most {BLOCK_LENGTH_MAX} bytes of extrinsics")
    if ordered_root(extrinsics) != header.extrinsics_root:
        raise BodyRefusedError("the extrinsics do not match the header's extrinsics root")
