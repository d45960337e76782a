"""Counts what the served metadata leaves without a sentence.

`python -m tests.layout.metadata_docs` prints a line for each version of metadata and each kind of
thing: storage entries, constants, calls, events and errors; with `--names` also which ones. It
reads the bytes that a node serves, as a wallet does.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pallets import compose
from runtime.codec.scale import decode
from runtime.metadata.frame_metadata import Metadata14, Metadata15, Pallet14
from runtime.metadata.metadata import metadata
from runtime.metadata.registry import PortableType

KINDS: Final = ("storage entries", "constants", "calls", "events", "errors")
PREFIX_BYTES: Final = 5
"""The magic number and the version, which come before the encoded metadata."""


@dataclass(frozen=True, slots=True)
class Described:
    """One thing that metadata describes: `Balances.Holds` with its docs."""

    version: int
    kind: str
    name: str
    docs: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Return whether no line of the docs has any text."""
        return not any(line.strip() for line in self.docs)


def described_things(version: int) -> list[Described]:
    """Return everything that the served metadata of a version describes, in order."""
    body = metadata(compose(), version)[PREFIX_BYTES:]
    if version == 14:
        old = decode(Metadata14, body)
        return list(_of_pallets(version, old.pallets, old.types))
    new = decode(Metadata15, body)
    return list(_of_pallets(version, [pallet.pallet for pallet in new.pallets], new.types))


def _of_pallets(
    version: int, pallets: Sequence[Pallet14], types: Sequence[PortableType]
) -> Iterator[Described]:
    for pallet in pallets:
        entries = pallet.storage.entries if pallet.storage is not None else ()
        parts: tuple[Sequence[Any], ...] = (
            entries,
            pallet.constants,
            _variants(types, pallet.calls),
            _variants(types, pallet.event),
            _variants(types, pallet.error),
        )
        for kind, things in zip(KINDS, parts, strict=True):
            for thing in things:
                yield Described(version, kind, f"{pallet.name}.{thing.name}", thing.docs)


def _variants(types: Sequence[PortableType], number: int | None) -> Sequence[Any]:
    definition: Any = None if number is None else types[number].type.definition
    return () if definition is None else definition.variants


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the counts; returns how many things have no sentence, at most 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.layout.metadata_docs")
    parser.add_argument("--names", action="store_true", help="name what has no sentence")
    options = parser.parse_args(arguments)
    empty_count = 0
    for version in (14, 15):
        things = described_things(version)
        for kind in KINDS:
            of_kind = [thing for thing in things if thing.kind == kind]
            empty = [thing for thing in of_kind if thing.is_empty]
            empty_count += len(empty)
            print(f"V{version} {kind}: {len(empty)} of {len(of_kind)} without a sentence")
            for thing in empty if options.names else ():
                print(f"  {thing.name}")
    return min(empty_count, 1)


if __name__ == "__main__":
    raise SystemExit(main())
