"""The contributors of the story and their rows.

Four contributors split the documentation of the user's own Python by module. Mallory brings exact
copies of the first one's rows, Oscar real prompts with the words of all rows shuffled.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ml.rows.harvest import harvest_standard_library
from ml.rows.row import Row, canonical_row, row_hash
from runtime.crypto.keys import Keypair

HONEST: Final = ("Bob", "Charlie", "Dave", "Eve")
NOISE_WORDS: Final = 40


@dataclass(frozen=True, slots=True)
class Contributor:
    """An account with its rows."""

    name: str
    pair: Keypair
    rows: tuple[Row, ...]


def gather(rows: int, copied_rows: int, noise_rows: int, seed: int) -> list[Contributor]:
    """Return the honest contributors with `rows` rows together, then the copier, then the noise."""
    people = [
        Contributor(name, Keypair.from_uri(f"//{name}"), share)
        for name, share in zip(HONEST, _shares(rows), strict=True)
    ]
    copies = people[0].rows[:copied_rows]
    return [
        *people,
        Contributor("Mallory (exact copies)", Keypair.from_uri("//Mallory"), copies),
        Contributor(
            "Oscar (shuffled noise)", Keypair.from_uri("//Oscar"), _noise(people, noise_rows, seed)
        ),
    ]


def _shares(rows: int) -> list[tuple[Row, ...]]:
    """Share the modules out, the largest first, each to the contributor with the fewest rows.

    No row is given twice: rows that modules share would be refused as copies.
    """
    modules = harvest_standard_library()
    shares: list[list[Row]] = [[] for _ in HONEST]
    seen: set[bytes] = set()
    share_rows_max = -(-rows // len(HONEST))
    for name in sorted(modules, key=lambda name: (-len(modules[name]), name)):
        smallest = min(shares, key=len)
        if len(smallest) == share_rows_max:
            break
        for row in modules[name]:
            identity = row_hash(row)
            if identity not in seen and len(smallest) < share_rows_max:
                seen.add(identity)
                smallest.append(canonical_row(row))
    return [tuple(share) for share in shares]


def _noise(people: Sequence[Contributor], count: int, seed: int) -> tuple[Row, ...]:
    source = random.Random(seed)  # noqa: S311 - noise, not secrets
    rows = [row for person in people for row in person.rows]
    words = [word for row in rows for word in row.completion.split()]
    return tuple(
        canonical_row(Row(row.prompt, " ".join(source.choices(words, k=NOISE_WORDS))))
        for row in source.sample(rows, count)
    )
