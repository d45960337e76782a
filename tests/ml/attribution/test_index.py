"""The attribution index: a loaded index is the built one."""

import dataclasses

import numpy as np
import pytest

from ml.attribution.index import (
    SHARDS,
    BlobMismatchError,
    ContributorCountError,
    IndexMalformedError,
    QuerySketcher,
    load_index,
    shard_list,
)
from ml.train.data import encode_text
from runtime.codec.scale import codec
from runtime.shared.documents import JobOutput
from runtime.trie.merkle import blob_id
from runtime.types.primitives import Hash
from tests.ml.attribution.conftest import INDEX_SIZE as SIZE


def test_every_file_of_an_index_is_named_by_its_content(built, rows):
    indexed, files = built
    assert all(blob_id(data) == name for name, data in files.items())
    shards = shard_list(files[indexed.span_shards])
    own = {indexed.phi, indexed.psi, indexed.aggregates, indexed.span_shards}
    assert {*own, *shards} == set(files)
    assert (indexed.rows, indexed.sketch_size) == (len(rows), SIZE)


def test_an_index_is_the_same_each_time(build, built):
    assert build() == built


def test_the_row_that_was_repeated_scores_highest(index, sketcher, rows):
    hits = 0
    for at, row in enumerate(rows):
        scores = index.score(sketcher.sketch(row.prompt, row.completion))
        assert scores.shape == (len(rows),)
        hits += int(np.argmax(scores)) == at
    assert hits >= len(rows) - 2


def test_top_rows_are_sorted_and_agree_with_the_scores(index, sketcher):
    phi = sketcher.sketch("quick brown", "fox jumps")
    scores, top = index.score(phi), index.top(phi, 5)
    assert [row.score for row in top] == sorted(scores.tolist(), reverse=True)[:5]
    assert all(scores[row.row] == row.score for row in top)
    outside = 1 - sum(abs(row.score) for row in top) / np.abs(scores).sum()
    assert index.remainder_permille(phi, top) == pytest.approx(1000 * outside, abs=1)


def test_aggregates_sum_the_rows_of_each_contributor(index, contributors):
    aggregates = index.aggregates
    assert [aggregate.contributor for aggregate in aggregates] == sorted(set(contributors))
    assert sum(aggregate.rows for aggregate in aggregates) == len(contributors)
    answer = np.random.default_rng(0).integers(-127, 128, SIZE).astype(np.int8)
    scores = index.score(answer.tobytes())
    for aggregate in aggregates:
        mine = [at for at, owner in enumerate(contributors) if owner == aggregate.contributor]
        assert np.dot(aggregate.psi_sum, answer.astype(np.int64)) == scores[mine].sum()


def test_two_sketchers_of_one_adapter_and_seed_give_the_same_query_sketch(
    model, tokenizer, moments, seed, sketcher
):
    alone = QuerySketcher(model, tokenizer, moments, seed, SIZE).sketch("a", "bc")
    assert alone == sketcher.sketch("a", "bc")


def test_held_out_rows_neither_score_nor_earn(build, tokenizer, rows, sketcher):
    indexed, files = build(held_out={4})
    index = load_index(indexed, files.__getitem__)
    assert index.score(sketcher.sketch(rows[4].prompt, rows[4].completion))[4] == 0
    assert index.spans(encode_text(rows[4].completion, tokenizer))


def test_a_file_with_other_content_is_refused(built):
    indexed, files = built
    with pytest.raises(BlobMismatchError):
        load_index(indexed, lambda name: files[name] + b"x")


def test_files_that_contradict_the_commitment_are_refused(built):
    indexed, files = built
    with pytest.raises(IndexMalformedError):
        load_index(dataclasses.replace(indexed, rows=indexed.rows - 1), files.__getitem__)
    with pytest.raises(IndexMalformedError):
        load_index(*with_list(indexed, files, SHARDS.encode(())))
    with pytest.raises(IndexMalformedError):
        load_index(*with_list(indexed, files, b"\xff" * 5))


def with_list(indexed, files, data):
    """Return an index whose shards are listed so, and how to read its files."""
    changed = dataclasses.replace(indexed, span_shards=blob_id(data))
    return changed, {**files, blob_id(data): data}.__getitem__


def test_an_index_may_have_any_number_of_shards(built):
    """65 of them once made an honest index too long to be revealed."""
    indexed, _ = built
    names = [Hash(bytes([at]) * 32) for at in range(200)]
    data = SHARDS.encode(tuple(names))
    assert shard_list(data) == tuple(names)
    changed = dataclasses.replace(indexed, span_shards=blob_id(data))
    sizes = [len(codec(JobOutput).encode(each)) for each in (indexed, changed)]
    assert sizes[0] == sizes[1]


def test_each_row_needs_a_contributor(build, contributors):
    with pytest.raises(ContributorCountError):
        build(contributors=contributors[1:])
