"""The attribution index of a trained adapter: built by a job, loaded by a server of answers.

`build_index` computes everything that `runtime.shared.documents.Indexed` commits to and the files
behind the hashes; `load_index` reads those files back and checks each against its hash. The loaded
index returns the rows of largest influence on an answer and the spans that the answer repeats.

Rules that hold here: row i of every file is row i of the training job; aggregates are in the order
of their contributors' accounts; a file whose content does not fit its hash is refused; shards are
listed by a file of their own, for a large datanet has more of them than fit a block.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from ml.attribution.influence import (
    Integers,
    damping_of,
    gram_hash,
    inverse_sketches,
    scores,
)
from ml.attribution.sketch import Sketcher, Sketches
from ml.attribution.spans import Shard, SpanIndex, build_shards
from ml.rows.row import Row
from ml.train.data import Example, encode_row
from runtime.codec.scale import DecodeError, codec
from runtime.shared.documents import ContributorAggregate, Indexed, Recipe
from runtime.shared.receipts import TOP_ROWS_MAX, RowScore, Span
from runtime.trie.merkle import blob_id, merkle_root
from runtime.types.primitives import AccountId, Hash

AGGREGATES: Final = codec(tuple[ContributorAggregate, ...])
SHARDS: Final = codec(tuple[Hash, ...])
PERMILLE: Final = 1000
ROW_TOKENS_DEFAULT: Final = Recipe().max_tokens

ReadBlob = Callable[[Hash], bytes]
Progress = Callable[[int, int], None]


class ContributorCountError(ValueError):
    """The number of contributors is not the number of rows."""


class BlobMismatchError(ValueError):
    """The content of a file does not have the hash that names it."""


class IndexMalformedError(ValueError):
    """A file fits its hash and yet is no part of an index."""


def build_index(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    *,
    rows: Sequence[Row],
    contributors: Sequence[AccountId],
    moments: Mapping[str, Tensor],
    seed: bytes,
    sketch_size: int,
    max_tokens: int = ROW_TOKENS_DEFAULT,
    held_out: Collection[int] = (),
    progress: Progress | None = None,
) -> tuple[Indexed, dict[Hash, bytes]]:
    """Sketch the rows with the model that carries the adapter; return commitments and files.

    `contributors` names the owner of each row; `moments` come from `sketch.load_moments`;
    `max_tokens` is the recipe's. Rows in `held_out` were not trained on: they keep their number
    and their spans, and have a zero sketch, so they neither score nor earn.
    `progress(done, rows)` follows the gradients, which are nearly all of the work.
    Raises ContributorCountError, NoLoraSiteError, MomentsMismatchError, SeedLengthError.
    """
    if len(contributors) != len(rows):
        raise ContributorCountError(
            f"{len(rows)} rows have {len(contributors)} contributors. Name one for each row."
        )
    examples = [encode_row(row, tokenizer, max_tokens, number) for number, row in enumerate(rows)]
    phi = np.zeros((len(rows), sketch_size), np.int8)  # [rows, k]
    # Zero sketches and not missing rows: the numbers of rows are those of the training job.
    trained = [number for number in range(len(rows)) if number not in held_out]
    sketcher = Sketcher(model, moments, seed, sketch_size)
    phi[trained] = sketcher.sketch([examples[number] for number in trained], progress)
    shards = build_shards(span_tokens(examples))
    return commit_index(phi, contributors, shards)


def span_tokens(examples: Sequence[Example]) -> list[tuple[int, ...]]:
    """Return the tokens that spans are searched in: each row as it was trained on."""
    return [example.ids for example in examples]


def commit_index(
    phi: Sketches, contributors: Sequence[AccountId], shards: Sequence[Shard]
) -> tuple[Indexed, dict[Hash, bytes]]:
    """Return the commitments that follow from sketches, owners and spans, with the files."""
    damping = damping_of(phi)
    psi = inverse_sketches(phi, damping)  # [rows, k]
    aggregates = aggregated(psi, contributors)
    shard_files = [shard.to_bytes() for shard in shards]
    shard_blobs = tuple(blob_id(file) for file in shard_files)
    files = [phi.tobytes(), psi.tobytes(), AGGREGATES.encode(aggregates)]
    files.append(SHARDS.encode(shard_blobs))
    phi_blob, psi_blob, aggregates_blob, list_blob = [blob_id(file) for file in files]
    indexed = Indexed(
        phi=phi_blob,
        phi_root=sketches_root(phi),
        gram_hash=gram_hash(phi),
        damping=damping,
        psi=psi_blob,
        psi_root=sketches_root(psi),
        aggregates=aggregates_blob,
        aggregate_root=aggregates_root(aggregates),
        span_shards=list_blob,
        rows=len(phi),
        sketch_size=phi.shape[1],
    )
    names = [phi_blob, psi_blob, aggregates_blob, list_blob, *shard_blobs]
    return indexed, dict(zip(names, [*files, *shard_files], strict=True))


def aggregated(
    psi: Sketches, contributors: Sequence[AccountId]
) -> tuple[ContributorAggregate, ...]:
    """Return Psi_c, the sum of psi over each contributor's rows, in order of the accounts."""
    rows_of: dict[AccountId, list[int]] = {}
    for row, contributor in enumerate(contributors):
        rows_of.setdefault(contributor, []).append(row)
    return tuple(
        ContributorAggregate(
            contributor,
            len(rows_of[contributor]),
            tuple(psi[rows_of[contributor]].sum(axis=0, dtype=np.int64).tolist()),
        )
        for contributor in sorted(rows_of)
    )


def sketches_root(sketches: Sketches) -> Hash:
    """Return the Merkle root over the sketches' bytes, one leaf per row."""
    return merkle_root(row.tobytes() for row in sketches)


def aggregates_root(aggregates: Sequence[ContributorAggregate]) -> Hash:
    """Return the Merkle root over the encoded aggregates."""
    encoding = codec(ContributorAggregate)
    return merkle_root(encoding.encode(aggregate) for aggregate in aggregates)


# ------------------------------------------------------------------------------------------ serving


class AttributionIndex:
    """Finds the sources of an answer: rows by influence and rows by verbatim spans."""

    def __init__(
        self,
        indexed: Indexed,
        psi: Sketches,
        aggregates: tuple[ContributorAggregate, ...],
        spans: SpanIndex,
    ) -> None:
        self.indexed = indexed
        self.aggregates = aggregates
        # Converted once: a conversion per answer would cost more than its scores.
        self._psi: npt.NDArray[np.float32] = psi.astype(np.float32)  # [rows, k]
        self._spans = spans

    def score(self, query: bytes) -> Integers:
        """Return the exact influence of every row on the answer with this sketch [rows]."""
        return scores(self._psi, np.frombuffer(query, np.int8))

    def top(self, query: bytes, count: int = TOP_ROWS_MAX) -> tuple[RowScore, ...]:
        """Return the rows of largest score, largest first; ties go to the earlier row."""
        return top_of(self.score(query), count)

    def remainder_permille(self, query: bytes, top: Sequence[RowScore]) -> int:
        """Return the permille of the absolute influence outside `top`, rounded up."""
        return remainder_of(self.score(query), top)

    def spans(self, answer: Sequence[int]) -> tuple[Span, ...]:
        """Return the spans of the answer's tokens, the rarest first."""
        return self._spans.spans(answer)


def load_index(indexed: Indexed, read: ReadBlob) -> AttributionIndex:
    """Read the files of an index, each checked against its hash.

    Raises BlobMismatchError, IndexMalformedError, ShardMalformedError, and what `read` raises.
    """
    psi = load_sketches(indexed, indexed.psi, read)
    aggregates = AGGREGATES.decode(read_checked(indexed.aggregates, read))
    spans = SpanIndex(read_shards(indexed, read))
    if spans.rows != indexed.rows:
        raise IndexMalformedError(
            f"The span shards hold {spans.rows} rows, the index {indexed.rows}. "
            "The job's output contradicts itself; report it."
        )
    return AttributionIndex(indexed, psi, aggregates, spans)


def shard_list(data: bytes) -> tuple[Hash, ...]:
    """Return the shards that a list names. Raises IndexMalformedError."""
    try:
        return SHARDS.decode(data)
    except DecodeError as error:
        raise IndexMalformedError(
            f"The list of span shards does not decode: {error}. The job's output is malformed; "
            "report it."
        ) from error


def read_shards(indexed: Indexed, read: ReadBlob) -> Iterator[Shard]:
    """Yield the shards of an index, one file after another.

    Raises BlobMismatchError, IndexMalformedError, ShardMalformedError, and what `read` raises.
    """
    for blob in shard_list(read_checked(indexed.span_shards, read)):
        yield Shard.from_bytes(read_checked(blob, read))


def load_sketches(indexed: Indexed, blob: Hash, read: ReadBlob) -> Sketches:
    """Return phi or psi of an index [rows, k]. Raises BlobMismatchError, IndexMalformedError."""
    data = read_checked(blob, read)
    if len(data) != indexed.rows * indexed.sketch_size:
        raise IndexMalformedError(
            f"{len(data)} bytes are not {indexed.rows} sketches of {indexed.sketch_size} numbers. "
            "The job's output contradicts itself; report it."
        )
    return np.frombuffer(data, np.int8).reshape(indexed.rows, indexed.sketch_size)


def read_checked(blob: Hash, read: ReadBlob) -> bytes:
    """Return the content of a blob. Raises BlobMismatchError."""
    data = read(blob)
    if blob_id(data) != blob:
        raise BlobMismatchError(
            f"The content of blob {blob.hex()} has another hash. Fetch it from another peer."
        )
    return data


def top_of(values: Integers, count: int = TOP_ROWS_MAX) -> tuple[RowScore, ...]:
    """Return the rows of largest score, largest first; ties go to the earlier row."""
    best = np.argsort(-values, kind="stable")[:count]  # [count]; stable: ties stay in row order
    return tuple(RowScore(int(row), int(values[row])) for row in best)


def remainder_of(values: Integers, top: Sequence[RowScore]) -> int:
    """Return the permille of the absolute influence outside `top`, rounded up."""
    whole = int(np.sum(np.abs(values)))
    inside = sum(abs(row.score) for row in top)
    return -(-(whole - inside) * PERMILLE // whole) if whole else 0


class QuerySketcher:
    """Sketches answers; construct it once per adapter and use it for every answer."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerFast,
        moments: Mapping[str, Tensor],
        seed: bytes,
        sketch_size: int,
        max_tokens: int = ROW_TOKENS_DEFAULT,
    ) -> None:
        """Draw the transform. Raises NoLoraSiteError, MomentsMismatchError, SeedLengthError."""
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._sketcher = Sketcher(model, moments, seed, sketch_size)

    def sketch(self, prompt: str, answer: str) -> bytes:
        """Return phi of an answer, k int8 values; zeros for an empty answer."""
        if not answer:
            return bytes(self._sketcher.size)
        example = encode_row(Row(prompt, answer), self._tokenizer, self._max_tokens)
        sketches = self._sketcher.sketch([example])  # [1, k]
        return bytes(sketches.tobytes())
