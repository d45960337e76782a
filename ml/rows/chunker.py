"""Cut Markdown and plain text into rows, deterministically and with their offsets.

A chunk ends at a paragraph or heading if one is within the limit, else at a line or a character.
Offsets are bytes of the original file: `data[chunk.start:chunk.end]` is the source of a chunk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ml.rows.row import Row

CHUNK_BYTES_DEFAULT: Final = 1_200
CHUNK_BYTES_MAX: Final = 64 << 10
TEXT_BYTES_MAX: Final = 256 << 20

# A block is any headings, the paragraph under them, and the blank lines that end it.
BLOCK: Final = re.compile(
    rb"(?:#{1,6} [^\n]*\n?(?:[ \t\r]*\n)*)*"
    rb"(?:(?!#{1,6} |[ \t\r]*\n)[^\n]+\n?)*"
    rb"(?:[ \t\r]*\n)*"
)
HEADING: Final = re.compile(rb"#{1,6} ")


class TextRefusedError(Exception):
    """The bytes are not UTF-8 text, contain NUL, or exceed the maximum."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a text and its place: bytes `start` up to `end` of the file."""

    start: int
    end: int
    text: str

    @property
    def row(self) -> Row:
        """The chunk as a row of plain text."""
        return Row("", self.text)


def chunk_text(data: bytes, chunk_bytes: int = CHUNK_BYTES_DEFAULT) -> list[Chunk]:
    """Return the chunks of a text in order; together they cover every visible byte once.

    Raises TextRefusedError.
    """
    if len(data) > TEXT_BYTES_MAX:
        raise TextRefusedError(f"{len(data)} bytes exceed {TEXT_BYTES_MAX}; split the file.")
    if b"\0" in data:
        raise TextRefusedError(f"A NUL byte at {data.index(0)}; the file is binary.")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise TextRefusedError(
            f"Not valid UTF-8 at byte {error.start}; convert the file."
        ) from error
    # At least 64 bytes, so that a cut always finds the end of a character within the limit.
    limit = max(64, min(chunk_bytes, CHUNK_BYTES_MAX))
    chunks: list[Chunk] = []
    start = end = 0
    for block_start, block_end in _pieces(data, limit):
        # A heading begins a new chunk only once this one has some length: a list of short sections
        # would otherwise become one row each.
        opens_section = HEADING.match(data, block_start) and end - start >= limit // 4
        if end > start and (block_end - start > limit or opens_section):
            _append_chunk(chunks, data, start, end)
            start = block_start
        end = block_end
    _append_chunk(chunks, data, start, end)
    return chunks


def _append_chunk(chunks: list[Chunk], data: bytes, start: int, end: int) -> None:
    text = data[start:end].decode()
    if text.strip():
        chunks.append(Chunk(start, end, text))


def _pieces(data: bytes, limit: int) -> Iterator[tuple[int, int]]:
    """Yield consecutive byte ranges of at most `limit` bytes: blocks, or parts of long ones."""
    position = 0
    while position < len(data):
        match = BLOCK.match(data, position)
        end = match.end() if match and match.end() > position else len(data)
        while end - position > limit:
            cut = _cut(data, position, position + limit)
            yield position, cut
            position = cut
        if end > position:
            yield position, end
        position = end


def _cut(data: bytes, start: int, limit: int) -> int:
    """Return the best place to cut in the second half of a range, `limit` if there is none."""
    for separator in (b"\n", b". ", b" "):
        position = data.rfind(separator, start + (limit - start) // 2, limit)
        if position >= 0:
            return position + len(separator)
    while data[limit] & 0xC0 == 0x80:  # Never inside a character.
        limit -= 1
    return limit
