"""Events of the chain: a block was added, another one is best, a block is final."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.types.primitives import Hash, Header


@dataclass(frozen=True, slots=True)
class NewBlock:
    """A block was added, on whatever branch."""

    header: Header


@dataclass(frozen=True, slots=True)
class BestChanged:
    """Another block is best: the best branch lost `retracted` and gained `enacted`.

    `retracted` is newest first, `enacted` oldest first and ends with the best block; both are empty
    of what is final.
    """

    header: Header
    retracted: tuple[Hash, ...]
    enacted: tuple[Hash, ...]


@dataclass(frozen=True, slots=True)
class FinalChanged:
    """A block became final; `pruned` are the blocks of branches that lost."""

    header: Header
    pruned: tuple[Hash, ...] = ()


ChainEvent = NewBlock | BestChanged | FinalChanged
