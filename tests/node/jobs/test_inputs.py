"""Inputs: rows are laid out as their batches name them, and no file is larger than that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from node.jobs.inputs import Inputs, InputsMissingError
from node.storage.blob_store import BlobStore
from runtime.codec.scale import codec
from runtime.shared.documents import BatchInput, DatanetVersion, Recipe, RowsInput, Train
from runtime.types.primitives import ZERO_HASH, AccountId, Hash

WHO = AccountId(b"w" * 32)
ROWS = b"rows of a batch"
TRAIN = Train(0, ZERO_HASH, (DatanetVersion(3, 1),), Recipe())


class Node:
    """A chain with one published batch, and peers that are asked for what is not here."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.blobs = BlobStore(folder / "blobs")
        self.blob = self.blobs.put(ROWS)
        self.size_bytes = size_bytes
        self.asked: list[tuple[Hash, int]] = []
        self.inputs = Inputs(cast(Any, self), self.blobs, ZERO_HASH, self)

    @contextmanager
    def at(self) -> Iterator[Any]:
        batch = SimpleNamespace(contributor=WHO, blob=self.blob, rows=2, size_bytes=self.size_bytes)
        datanets = SimpleNamespace(
            get_version=lambda datanet, version: SimpleNamespace(batches=1),
            accepted_batches=lambda datanet, start, count: [SimpleNamespace(number=5, batch=batch)],
        )
        yield SimpleNamespace(datanets=datanets)

    def bring(self, blob: Hash, bytes_max: int) -> None:
        self.asked.append((blob, bytes_max))
        self.blobs.put(ROWS)


def test_rows_are_brought_and_laid_out_with_a_list_of_their_batches(tmp_path: Path) -> None:
    node = Node(tmp_path, len(ROWS))
    node.blobs.remove(node.blob)
    node.inputs.prepare(TRAIN, tmp_path / "inputs")
    assert node.asked == [(node.blob, len(ROWS))]
    assert (tmp_path / "inputs" / node.blob.hex()).read_bytes() == ROWS
    listed = codec(RowsInput).decode((tmp_path / "inputs" / "rows.scale").read_bytes())
    assert listed.batches == (BatchInput(3, 5, WHO, node.blob, 2),)


@pytest.mark.parametrize("is_here", [True, False])
def test_a_file_that_is_larger_than_its_batch_names_is_no_input(
    tmp_path: Path, is_here: bool
) -> None:
    node = Node(tmp_path, len(ROWS) - 1)
    if not is_here:
        node.blobs.remove(node.blob)
    with pytest.raises(InputsMissingError, match="Batch 5 of datanet 3 is not what it says"):
        node.inputs.prepare(TRAIN, tmp_path / "inputs")
    assert [most for _, most in node.asked] == ([] if is_here else [len(ROWS) - 1])
