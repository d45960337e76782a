"""A log file: what an append made durable is there, and nothing half written is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from consensus.write_ahead_log import DamagedLogError
from ml import durable_file
from node.storage import log_file
from node.storage.log_file import LogFile, ShortWriteError

RECORDS = (b"one", b"two" * 50, b"three")


def test_a_file_cut_anywhere_opens_with_the_records_before_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(path)
    ends = [log.size_bytes]
    for record in RECORDS:
        log.append((record,))
        ends.append(log.size_bytes)
    log.close()
    data = path.read_bytes()
    assert len(data) == ends[-1]
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        whole = sum(end <= cut for end in ends) - 1
        opened = LogFile(path)
        assert opened.read() == RECORDS[:whole]
        assert path.stat().st_size == opened.size_bytes == ends[whole]
        opened.close()


def test_damage_in_the_middle_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(path)
    log.append(RECORDS)
    log.close()
    damaged = bytearray(path.read_bytes())
    damaged[9] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DamagedLogError):
        LogFile(path)
    assert path.read_bytes() == damaged


def test_a_rewritten_file_has_the_new_records_and_takes_more(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log")
    log.append(RECORDS)
    log.rewrite(RECORDS[1:2])
    log.append((b"new",))
    assert log.read() == (RECORDS[1], b"new")
    assert log.path.stat().st_mode & 0o777 == 0o600
    log.close()


@pytest.mark.parametrize("can_be_cut", [True, False])
def test_a_disk_that_takes_a_part_leaves_no_torn_record_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_be_cut: bool
) -> None:
    """Near a full disk a write may be short and report no error."""
    path = tmp_path / "wal"
    log = LogFile(path)
    log.append(RECORDS[:1])
    whole = log._file
    assert whole is not None

    class Short:
        name = str(path)

        def write(self, data: bytes) -> int:
            return whole.write(data[:5])

        def fileno(self) -> int:
            return whole.fileno()

        def close(self) -> None:
            whole.close()

    def refuse(*_: object) -> None:
        raise ShortWriteError("took 5 of them, and is not cut")

    with monkeypatch.context() as full:
        log._file = Short()  # type: ignore[assignment]
        if not can_be_cut:
            full.setattr(os, "truncate", refuse)
        with pytest.raises(ShortWriteError, match="took 5 of"):
            log.append(RECORDS[1:2])
        log.append(RECORDS[2:])
    log.close()
    again = LogFile(path)
    assert again.read() == (RECORDS[0], RECORDS[2])
    again.close()


def test_a_rewrite_that_fails_leaves_the_file_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    log = LogFile(tmp_path / "log")
    log.append(RECORDS[:1])
    monkeypatch.setattr(log_file, "write_durably", full)
    with pytest.raises(OSError, match="No space"):
        log.rewrite(())
    log.append(RECORDS[1:2])
    assert log.read() == RECORDS[:2]
    log.close()


def test_a_rewrite_whose_rename_is_not_synced_goes_on_in_the_file_that_a_restart_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LogFile(tmp_path / "log")
    log.append(RECORDS)
    with monkeypatch.context() as failing:
        failing.setattr(durable_file, "sync_folder", refuse_io)
        failing.setattr(log_file, "sync_folder", refuse_io)
        with pytest.raises(OSError, match="Input/output"):
            log.rewrite(RECORDS[:1])
        # The new name may not survive a power cut, so nothing may count as recorded under it.
        with pytest.raises(OSError, match="Input/output"):
            log.append(RECORDS[1:2])
    log.append(RECORDS[1:2])
    log.close()
    again = LogFile(tmp_path / "log")
    assert again.read() == RECORDS[:2]
    again.close()


def test_a_log_that_cannot_be_opened_after_a_rewrite_takes_records_once_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LogFile(tmp_path / "log")
    log.append(RECORDS)
    with monkeypatch.context() as failing:
        failing.setattr(log_file, "sync_folder", refuse_io)
        log.rewrite(RECORDS[:1])
        with pytest.raises(OSError, match="Input/output"):
            log.append(RECORDS[1:2])
    log.append(RECORDS[1:2])
    assert log.read() == RECORDS[:2]
    log.close()


def refuse_io(*_: object) -> None:
    raise OSError(5, "Input/output error")
