"""Find near-duplicate rows: MinHash proposes, exact Jaccard over token 4-grams decides.

A row joins the cluster of the earliest row that it resembles (Jaccard >= .45); only the earliest
row of a cluster is trained on and paid, so copying with small edits earns nothing. All values are
integers, so all machines find the same clusters. A row is compared with every earlier row and not
only with representatives: otherwise a chain of small edits would escape its origin's cluster.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy

from ml.rows.row import Row

SHINGLE_TOKENS: Final = 4
JACCARD_PERMILLE: Final = 450
BANDS: Final = 48
BAND_VALUES: Final = 2  # A pair at the threshold shares a band with probability .99998.
SHINGLES_MAX: Final = 1 << 16
BUCKET_ROWS_MAX: Final = 256

TOKEN: Final = re.compile(r"\w+|[^\w\s]")

HashArray = numpy.ndarray[tuple[int], numpy.dtype[numpy.uint64]]


@dataclass(frozen=True, slots=True)
class Clusters:
    """`earliest[i]` is the position of the earliest row of row i's cluster."""

    earliest: tuple[int, ...]

    @property
    def representatives(self) -> tuple[int, ...]:
        """The positions of the rows that are trained on and paid, ascending."""
        return tuple(i for i, first in enumerate(self.earliest) if i == first)


def cluster_rows(rows: Sequence[Row]) -> Clusters:
    """Return the clusters of rows in their order; the earliest row represents each."""
    shingles = [row_shingles(row) for row in rows]
    multipliers, offsets = _permutations()
    buckets: dict[tuple[int, int, int], list[int]] = {}
    earliest: list[int] = []
    for position, own in enumerate(shingles):
        keys = _band_keys(own, multipliers, offsets)
        candidates = sorted({other for key in keys for other in buckets.get(key, ())})
        match = next((o for o in candidates if are_similar(own, shingles[o])), None)
        earliest.append(position if match is None else earliest[match])
        for key in keys:
            bucket = buckets.setdefault(key, [])
            # Bounded, because one phrase in every row would make each row compare with all others.
            if len(bucket) < BUCKET_ROWS_MAX:
                bucket.append(position)
    return Clusters(tuple(earliest))


def row_shingles(row: Row) -> HashArray:
    """Return the sorted distinct 64-bit hashes of the row's token 4-grams."""
    tokens = TOKEN.findall(f"{row.prompt}\n{row.completion}".lower())
    runs = max(1, len(tokens) - SHINGLE_TOKENS + 1)
    distinct = {" ".join(tokens[i : i + SHINGLE_TOKENS]) for i in range(min(runs, SHINGLES_MAX))}
    values = [
        int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest(), "little")
        for run in distinct
    ]
    return numpy.unique(numpy.array(values, dtype=numpy.uint64))


def are_similar(left: HashArray, right: HashArray) -> bool:
    """Return whether two shingle sets have Jaccard >= .45, in integers."""
    shared = len(numpy.intersect1d(left, right, assume_unique=True))
    union = len(left) + len(right) - shared
    return shared * 1000 >= union * JACCARD_PERMILLE


def _permutations() -> tuple[HashArray, HashArray]:
    count = BANDS * BAND_VALUES
    stream = hashlib.shake_256(b"openledger/minhash").digest(16 * count)
    values = numpy.frombuffer(stream, dtype="<u8").astype(numpy.uint64)
    # Odd multipliers only: x -> a x + b is a permutation modulo 2^64 exactly for odd a.
    return values[:count] | numpy.uint64(1), values[count:]


def _band_keys(
    shingles: HashArray, multipliers: HashArray, offsets: HashArray
) -> list[tuple[int, int, int]]:
    """Return (band, values) of a row's MinHash signature: rows that share one are candidates."""
    # Multiply-add modulo 2^64 permutes the hashes at the price of one product each; hashing every
    # shingle once per permutation would cost 96 hashes.
    mixed = shingles[:, None] * multipliers[None, :] + offsets[None, :]  # [shingles, permutations]
    minima = mixed.min(axis=0).reshape(BANDS, BAND_VALUES)  # [bands, values of a band]
    return [(band, int(pair[0]), int(pair[1])) for band, pair in enumerate(minima)]
