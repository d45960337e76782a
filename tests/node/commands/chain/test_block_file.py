"""A file of blocks appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.commands.chain.block_file import ExportedBlock, read_blocks, write_block_file
from runtime.types.primitives import ZERO_HASH, Digest, Header

HEADER = Header(ZERO_HASH, 1, ZERO_HASH, ZERO_HASH, Digest(()))


def interrupted() -> Iterator[ExportedBlock]:
    yield ExportedBlock(HEADER, ())
    raise KeyboardInterrupt


def test_ctrl_c_in_the_middle_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_block_file(tmp_path / "blocks", ZERO_HASH, interrupted())
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_read_back_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "blocks"
    blocks = [ExportedBlock(HEADER, (b"x",), b"proof")]
    assert write_block_file(path, ZERO_HASH, blocks) == 1
    genesis, read = read_blocks(path)
    assert (genesis, list(read)) == (ZERO_HASH, blocks)
    with pytest.raises(FileExistsError):
        write_block_file(path, ZERO_HASH, [])
    assert list(read_blocks(path)[1]) == blocks
    assert [file.name for file in tmp_path.iterdir()] == ["blocks"]
