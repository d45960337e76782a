"""Finalized blocks as they go into the database and come out of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runtime.trie.backend import Former


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """A finalized block with what it changed: flat state, trie nodes and metadata records."""

    number: int
    hash: bytes
    header: bytes
    body: Sequence[bytes] = field(repr=False)
    changes: Mapping[bytes, bytes | None] = field(repr=False)
    nodes: Mapping[bytes, bytes | None] = field(repr=False)
    justification: bytes | None = field(default=None, repr=False)
    metadata: Mapping[str, bytes | None] = field(default_factory=dict, repr=False)
    former: Former = field(default_factory=Former, repr=False)
    """What it overwrites in its parent's state; the commit reads what is not given."""


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A finalized block as it was committed."""

    number: int
    hash: bytes
    header: bytes
    body: tuple[bytes, ...] = field(repr=False)
    justification: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `check` has read and found consistent."""

    blocks: int
    keys: int
    nodes: int
    state_root: bytes
