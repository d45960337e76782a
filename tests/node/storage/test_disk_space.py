"""The reserve on a disk: nothing is written below it, and writing goes on when there is room."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from node.storage.database import Database
from node.storage.disk_space import RESERVE_BYTES_MAX, DiskSpace
from node.storage.errors import DiskLowError

BLOCK = 4096


def disk_of(total: int, free: int) -> Callable[[Path], os.statvfs_result]:
    """A disk with so many bytes."""

    def statvfs(_path: Path) -> os.statvfs_result:
        blocks, left = total // BLOCK, free // BLOCK
        return os.statvfs_result((BLOCK, BLOCK, blocks, left, left, 0, 0, 0, 0, 255))

    return statvfs


@pytest.mark.parametrize(
    ("total", "reserve"), [(1 << 40, RESERVE_BYTES_MAX), (100 << 20, 5 << 20), (20 << 20, 1 << 20)]
)
def test_the_reserve_is_small_on_a_small_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total: int, reserve: int
) -> None:
    space = DiskSpace(tmp_path)
    monkeypatch.setattr(os, "statvfs", disk_of(total, reserve))
    assert space.reserve_bytes == reserve
    space.check()
    monkeypatch.setattr(os, "statvfs", disk_of(total, reserve - BLOCK))
    with pytest.raises(DiskLowError, match="goes on by itself"):
        space.check()


def test_a_disk_that_does_not_say_its_space_takes_nothing_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_path: Path) -> os.statvfs_result:
        raise OSError(5, "Input/output error")

    space = DiskSpace(tmp_path)
    with monkeypatch.context() as failing:
        failing.setattr(os, "statvfs", broken)
        with pytest.raises(DiskLowError, match="Input/output error"):
            space.check()
        assert space.free_bytes == 0
    space.check()


def test_a_database_refuses_a_write_without_room_and_takes_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Database.open(tmp_path / "db") as database:
        database.put_metadata("name", b"first")
        with monkeypatch.context() as full:
            full.setattr(os, "statvfs", disk_of(1 << 40, 0))
            with pytest.raises(DiskLowError):
                database.put_metadata("name", b"second")
            assert database.metadata("name") == b"first"
        assert database.fault == ""
        database.put_metadata("name", b"third")
        assert database.metadata("name") == b"third"
