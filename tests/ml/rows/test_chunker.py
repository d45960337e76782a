from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.rows.chunker import TextRefusedError, chunk_text

lines = st.sampled_from(
    ["# Head\n", "word " * 9 + "\n", "\n", "  \n", "é" * 90, "x. y. z\n", "\r\n"]
)


@given(st.lists(lines, max_size=40).map("".join), st.integers(64, 300))
def test_chunks_cover_every_visible_byte_once_and_in_order(text: str, limit: int) -> None:
    data = text.encode()
    chunks = chunk_text(data, limit)
    position = 0
    for chunk in chunks:
        assert not data[position : chunk.start].strip()
        assert data[chunk.start : chunk.end].decode() == chunk.text
        assert chunk.end - chunk.start <= limit
        position = chunk.end
    assert not data[position:].strip()


@given(st.text(alphabet=st.characters(exclude_characters="\0", codec="utf-8"), max_size=400))
def test_any_text_is_cut_at_whole_characters(text: str) -> None:
    data = text.encode()
    joined = "".join(chunk.text for chunk in chunk_text(data, 64))
    assert joined.split() == "".join(text).split()


def test_a_heading_begins_a_chunk() -> None:
    text = b"# One\n\n" + b"first words here. " * 4 + b"\n\n# Two\n\n" + b"second words. " * 5
    chunks = chunk_text(text, 100)
    assert [chunk.text.split("\n")[0] for chunk in chunks] == ["# One", "# Two"]
    assert chunks[1].row.prompt == ""


@pytest.mark.parametrize("data", [b"a\0b", b"\xff\xfe"])
def test_a_binary_file_is_refused(data: bytes) -> None:
    with pytest.raises(TextRefusedError):
        chunk_text(data)
