"""LevelDB, contained: snapshots, batches, and a folder of one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.storage.errors import DatabaseFolderError, DatabaseInUseError
from node.storage.leveldb import LevelStore


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
