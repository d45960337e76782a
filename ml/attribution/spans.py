"""Spans: the verbatim repetitions of rows in an answer, found through suffix arrays.

The tokens of the rows are stored in shards; a shard is a file with the tokens and their suffix
array. The suffix array of a text is unique, so the blob id of a shard is a portable commitment:
every holder of the rows can build it again.

A span is a maximal match (longer in neither direction), its rarity is the sum of -ln(p) of its
tokens in the datanet, and it counts distinct rows, never copies.

Exact matches miss paraphrase: spans are evidence, never the basis of pay.

File: magic, then little-endian u32 first row, row count, token width in bytes, symbol count, then
the row ends (u32 symbols), the symbols (big-endian, `width` bytes each), the suffix array (u32).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
from pydivsufsort import divsufsort

from runtime.shared.receipts import SPANS_MAX, Span

MAGIC: Final = b"OLSPAN1\0"
SHARD_SYMBOLS_MAX: Final = 4_000_000
"""Tokens and separators of one shard at most."""

SPAN_TOKENS_MIN: Final = 4
SPAN_TOKENS_MAX: Final = 256
OCCURRENCES_MAX: Final = 100_000
"""Occurrences of one span that are read to count its rows."""

_HEADER_BYTES: Final = len(MAGIC) + 16
_LOGARITHMS: Final = Context(prec=40)

Numbers = npt.NDArray[np.uint32]


class ShardMalformedError(ValueError):
    """The file is not a shard that `build_shards` writes."""


@dataclass(frozen=True)
class Shard:
    """The rows from `first_row` on: `text` holds their symbols, `row_ends` the end of each row."""

    first_row: int
    width: int
    row_ends: Numbers  # [rows], in symbols
    text: bytes
    suffixes: Numbers  # [symbols]

    @cached_property
    def separator(self) -> bytes:
        """The symbol after each row; no token is encoded by it."""
        return b"\xff" * self.width

    def encoded(self, tokens: Sequence[int]) -> bytes:
        """Return tokens as symbols; a token too large for every row becomes the separator."""
        largest = (1 << 8 * self.width) - 1
        return b"".join(min(token, largest).to_bytes(self.width, "big") for token in tokens)

    def longest(self, pattern: bytes) -> int:
        """Return the length in symbols of the longest prefix of `pattern` that the shard has."""
        at = bisect_left(self.suffixes, pattern, key=self._suffix(len(pattern)))
        # In sorted order the longest common prefix is with a neighbour of the pattern's place.
        near = self.suffixes[max(0, at - 1) : at + 1]
        return max((self._common(int(position), pattern) for position in near), default=0)

    def occurrences(self, pattern: bytes) -> Numbers:
        """Return the symbol positions of `pattern`, ascending."""
        key = self._suffix(len(pattern))
        low = bisect_left(self.suffixes, pattern, key=key)
        high = bisect_right(self.suffixes, pattern, lo=low, key=key)
        return np.sort(self.suffixes[low : min(high, low + OCCURRENCES_MAX)])

    def to_bytes(self) -> bytes:
        """Return the file."""
        numbers = (self.first_row, len(self.row_ends), self.width, len(self.suffixes))
        header = b"".join(number.to_bytes(4, "little") for number in numbers)
        ends, suffixes = self.row_ends.astype("<u4"), self.suffixes.astype("<u4")
        return MAGIC + header + ends.tobytes() + self.text + suffixes.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Shard:
        """Read a file. Raises ShardMalformedError.

        The order of the suffix array is not checked: `ml.attribution.verify` builds it again.
        """
        if len(data) < _HEADER_BYTES or not data.startswith(MAGIC):
            raise ShardMalformedError("This is not a span shard. Fetch the blob again.")
        numbers = np.frombuffer(data, "<u4", 4, len(MAGIC))
        first_row, rows, width, symbols = (int(number) for number in numbers)
        if width not in (1, 2, 3, 4):
            raise ShardMalformedError(
                "The shard's symbols have an unknown width. Fetch the blob again."
            )
        text_at = _HEADER_BYTES + 4 * rows
        suffixes_at = text_at + symbols * width
        if len(data) != suffixes_at + 4 * symbols or symbols > SHARD_SYMBOLS_MAX:
            raise ShardMalformedError("The shard's length does not fit its header. Fetch it again.")
        ends = np.frombuffer(data, "<u4", rows, _HEADER_BYTES).astype(np.uint32)
        suffixes = np.frombuffer(data, "<u4", symbols, suffixes_at).astype(np.uint32)
        ascending = np.all(ends[1:] > ends[:-1])
        if rows == 0 or not ascending or ends[-1] != symbols or np.any(suffixes >= symbols):
            raise ShardMalformedError(
                "The shard points outside its own text. Fetch the blob again."
            )
        return cls(
            first_row=first_row,
            width=width,
            row_ends=ends,
            text=data[text_at:suffixes_at],
            suffixes=suffixes,
        )

    def _suffix(self, length: int) -> Callable[[int], bytes]:
        text, width = self.text, self.width
        return lambda position: text[position * width : position * width + length]

    def _common(self, position: int, pattern: bytes) -> int:
        """Return the number of symbols that the suffix at `position` and the pattern share."""
        start, width = position * self.width, self.width
        suffix = self.text[start : start + len(pattern)]
        shared = 0
        while (
            shared < len(suffix)
            and suffix[shared : shared + width] == pattern[shared : shared + width]
        ):
            shared += width
        return shared // width


def build_shards(
    rows: Sequence[Sequence[int]], symbols_max: int = SHARD_SYMBOLS_MAX
) -> list[Shard]:
    """Return the shards of the rows' tokens, in order, each filled up to the maximum."""
    assert symbols_max <= SHARD_SYMBOLS_MAX
    shards: list[Shard] = []
    start = 0
    while start < len(rows):
        end, symbols = start, 0
        while end < len(rows) and (end == start or symbols + len(rows[end]) < symbols_max):
            symbols += len(rows[end]) + 1
            end += 1
        shards.append(_built(start, rows[start:end]))
        start = end
    return shards


def _built(first_row: int, rows: Sequence[Sequence[int]]) -> Shard:
    largest = max((token for row in rows for token in row), default=0)
    # The largest symbol separates, so a token may use all values but that one.
    width = max(1, ((largest + 1).bit_length() + 7) // 8)
    separator = (1 << 8 * width) - 1
    symbols = np.concatenate([np.array([*row, separator], np.uint32) for row in rows])  # [symbols]
    # Big-endian bytes sort as the numbers do, so the byte suffix array holds the token one.
    text = symbols.astype(">u4").view(np.uint8).reshape(-1, 4)[:, 4 - width :].tobytes()
    # Suffixes that begin inside a symbol are dropped: divsufsort knows bytes only.
    by_bytes = divsufsort(np.frombuffer(text, np.uint8).copy())  # [symbols * width]
    suffixes = by_bytes[by_bytes % width == 0] // width  # [symbols]
    ends = np.cumsum([len(row) + 1 for row in rows])  # [rows]
    return Shard(
        first_row=first_row,
        width=width,
        row_ends=ends.astype(np.uint32),
        text=text,
        suffixes=suffixes.astype(np.uint32),
    )


class SpanIndex:
    """Finds and ranks the spans of answers in the rows of some shards."""

    def __init__(self, shards: Iterable[Shard]) -> None:
        self.shards = tuple(shards)
        self._surprise = _surprises(self.shards)

    @property
    def rows(self) -> int:
        """The number of rows in the shards."""
        return sum(len(shard.row_ends) for shard in self.shards)

    def spans(self, answer: Sequence[int], count: int = SPANS_MAX) -> tuple[Span, ...]:
        """Return the maximal matches of the answer's tokens, the rarest first."""
        lengths = self._matching_lengths(answer)
        spans: list[Span] = []
        reach = 0
        for start, length in enumerate(lengths):
            # A match that ends no later than an earlier one lies inside it.
            if length >= SPAN_TOKENS_MIN and start + length > reach:
                spans.append(self._span(answer, start, length))
            reach = max(reach, start + length)
        spans.sort(key=lambda span: (-span.rarity_millinats, span.start))
        return tuple(spans[:count])

    def _matching_lengths(self, answer: Sequence[int]) -> list[int]:
        """Return for each position of the answer the length of its longest match in any shard."""
        best = [0] * len(answer)
        for shard in self.shards:
            symbols, width = shard.encoded(answer), shard.width
            for start in range(len(answer)):
                pattern = symbols[start * width : (start + SPAN_TOKENS_MAX) * width]
                best[start] = max(best[start], shard.longest(_before_separator(pattern, shard)))
        return best

    def _span(self, answer: Sequence[int], start: int, length: int) -> Span:
        tokens = answer[start : start + length]
        rows: set[int] = set()
        first: tuple[int, int] | None = None
        for shard in self.shards:
            places = shard.occurrences(shard.encoded(tokens))
            if len(places) == 0:
                continue
            local = np.searchsorted(shard.row_ends, places, side="right")  # [occurrences]
            rows.update((np.unique(local) + shard.first_row).tolist())
            begin = 0 if local[0] == 0 else int(shard.row_ends[local[0] - 1])
            place = (shard.first_row + int(local[0]), int(places[0]) - begin)
            first = place if first is None else min(first, place)
        assert first is not None
        rarity = sum(self._surprise.get(token, 0) for token in tokens)
        return Span(
            start=start,
            length=length,
            row=first[0],
            offset=first[1],
            clusters=len(rows),
            rarity_millinats=rarity,
        )


def _before_separator(pattern: bytes, shard: Shard) -> bytes:
    """Cut a pattern at the first separator, which encodes tokens that no row holds."""
    width = shard.width
    for at in range(0, len(pattern), width):
        if pattern[at : at + width] == shard.separator:
            return pattern[:at]
    return pattern


def _surprises(shards: Sequence[Shard]) -> dict[int, int]:
    """Return -ln(p) of each token of the rows in millinats, the same on every machine."""
    counts: dict[int, int] = {}
    for shard in shards:
        padded = np.zeros((len(shard.suffixes), 4), np.uint8)  # [symbols, 4], big-endian
        symbols = np.frombuffer(shard.text, np.uint8).reshape(-1, shard.width)  # [symbols, width]
        padded[:, 4 - shard.width :] = symbols
        values, numbers = np.unique(padded.view(">u4"), return_counts=True)
        separator = (1 << 8 * shard.width) - 1
        for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
            if value != separator:
                counts[value] = counts.get(value, 0) + number
    total = sum(counts.values())
    # Decimal's ln is correctly rounded on every platform, the C library's is not.
    by_count = {count: _millinats(total, count) for count in sorted(set(counts.values()))}
    return {token: by_count[count] for token, count in counts.items()}


def _millinats(total: int, count: int) -> int:
    ratio = _LOGARITHMS.divide(Decimal(total), Decimal(count))
    return int((_LOGARITHMS.ln(ratio) * 1000).to_integral_value())
