"""Spans: what the suffix arrays find is what a plain search finds."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.attribution.spans import (
    SPAN_TOKENS_MIN,
    Shard,
    ShardMalformedError,
    SpanIndex,
    build_shards,
)

TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=25)


def contains(row, part):
    return any(row[at : at + len(part)] == part for at in range(len(row) - len(part) + 1))


def plain_search(rows, answer):
    """All maximal matches as (start, length, number of rows), by trying everything."""
    matches, reach = [], 0
    for start in range(len(answer)):
        length = 0
        while start + length < len(answer) and any(
            contains(row, answer[start : start + length + 1]) for row in rows
        ):
            length += 1
        if length >= SPAN_TOKENS_MIN and start + length > reach:
            part = answer[start : start + length]
            matches.append((start, length, sum(contains(row, part) for row in rows)))
        reach = max(reach, start + length)
    return matches


@settings(deadline=None)
@given(st.lists(TOKENS, min_size=1, max_size=6), TOKENS, st.sampled_from([20, 4000]))
def test_spans_are_those_of_a_plain_search(rows, answer, symbols_max):
    spans = SpanIndex(build_shards(rows, symbols_max)).spans(answer)
    assert sorted((span.start, span.length, span.clusters) for span in spans) == plain_search(
        rows, answer
    )
    for span in spans:
        part = rows[span.row][span.offset : span.offset + span.length]
        assert part == answer[span.start : span.start + span.length]


@given(st.lists(st.lists(st.integers(0, 70_000), max_size=20), min_size=1, max_size=5))
def test_a_shard_is_read_as_it_was_written(rows):
    for shard in build_shards(rows):
        file = shard.to_bytes()
        assert Shard.from_bytes(file).to_bytes() == file


@settings(deadline=None)
@given(st.binary(max_size=80), st.integers(0, 200))
def test_broken_shards_are_refused_or_read_back_alike(garbage, at):
    file = build_shards([[1, 2, 3], [4, 5, 2**16]])[0].to_bytes()
    broken = file[:at] + garbage + file[at + len(garbage) :]
    try:
        assert Shard.from_bytes(broken).to_bytes() == broken
    except ShardMalformedError:
        assert broken != file


@pytest.mark.parametrize("largest", [5, 254, 255, 256, 65_534, 65_535, 70_000])
def test_every_vocabulary_size_keeps_its_separator(largest):
    rows = [[largest] * 3 + [1, 2], [1, 2, 3, 4, largest]]
    index = SpanIndex(build_shards(rows))
    (span,) = index.spans([9, 1, 2, 3, 4, largest, 2**31])
    assert (span.start, span.length, span.row, span.offset) == (1, 5, 1, 0)
    assert index.spans([2**31 + 1] * 9) == ()


def test_a_match_never_crosses_two_rows():
    index = SpanIndex(build_shards([[1, 2, 3], [4, 5, 6]]))
    assert index.spans([1, 2, 3, 4, 5, 6]) == ()


def test_copies_inside_a_row_count_once_and_rows_count_each():
    index = SpanIndex(build_shards([[1, 2, 3, 4, 1, 2, 3, 4], [0, 1, 2, 3, 4]]))
    (span,) = index.spans([1, 2, 3, 4])
    assert (span.row, span.offset, span.clusters) == (0, 0, 2)


def test_rare_spans_come_first_with_their_surprise_in_millinats():
    rows = [[1, 1, 1, 1], [1, 1, 1, 1], [6, 7, 8, 9]]
    first, second = SpanIndex(build_shards(rows)).spans([1, 1, 1, 1, 6, 7, 8, 9])
    assert (first.start, second.start) == (4, 0)
    assert first.rarity_millinats == 4 * round(1000 * np.log(12))
    assert second.rarity_millinats == 4 * round(1000 * np.log(12 / 8))


def test_shards_are_the_same_for_the_same_rows():
    rows = [[1, 2, 3], [2, 3, 4], [5]]
    first, second = build_shards(rows, 9), build_shards(rows, 9)
    assert [shard.to_bytes() for shard in first] == [shard.to_bytes() for shard in second]
    assert len(first) == 2
    assert dataclasses.is_dataclass(first[0])
