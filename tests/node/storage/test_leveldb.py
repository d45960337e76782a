"""LevelDB, contained: snapshots, batches, and a folder of one process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from node.storage.errors import DatabaseFolderError, DatabaseInUseError
from node.storage.leveldb import LevelStore
from tests.conftest import VECTORS
from tests.node.storage.support import level_files


def test_a_batch_is_read_back_and_a_snapshot_stays(tmp_path: Path) -> None:
    store = LevelStore.open(tmp_path / "db", create=True)
    store.write({b"a": b"1", b"b": b"\0\5"})
    snapshot = store.snapshot()
    store.write({b"a": None, b"c": b"3"})
    assert list(snapshot.pairs(b"", b"z")) == [(b"a", b"1"), (b"b", b"\0\5")]
    assert list(store.reader.keys(b"", b"c")) == [b"b"]
    assert store.reader.first(b"c", b"d") == (b"c", b"3")
    assert store.reader.first(b"d", b"e") is None
    assert store.reader.number(b"b") == 5
    assert store.reader.number(b"a") is None
    store.close()


def test_a_folder_has_one_process_and_must_exist(tmp_path: Path) -> None:
    with pytest.raises(DatabaseFolderError, match="Check the path"):
        LevelStore.open(tmp_path / "absent", create=False)
    store = LevelStore.open(tmp_path / "db", create=True)
    with pytest.raises(DatabaseInUseError):
        LevelStore.open(tmp_path / "db", create=True)
    store.close()


@pytest.mark.parametrize("binding", ["plyvel", "plyvel_next"])
def test_a_database_of_either_binding_is_read_and_written_on(binding: str, tmp_path: Path) -> None:
    """So a node's folder survives a change of its Python, there and back."""
    folder = tmp_path / "db"
    shutil.copytree(VECTORS / "leveldb" / binding, folder)
    assert level_files.content(folder) == level_files.CONTENT
    store = LevelStore.open(folder, create=False)
    store.write({b"more": b"of this binding"})
    store._source.compact_range()
    store.close()
    assert level_files.content(folder) == {**level_files.CONTENT, b"more": b"of this binding"}


def test_the_frozen_databases_are_what_this_binding_writes(tmp_path: Path) -> None:
    level_files.write(tmp_path / "db")
    assert level_files.content(tmp_path / "db") == level_files.CONTENT
