"""The log keeps what was appended, cuts a torn tail, and shrinks when it may."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus.write_ahead_log import DamagedLogError
from node.finality.write_ahead_log import LogRepair, WriteAheadLog, repair_log

RECORDS = [b"one", b"two" * 50, b"three"]


def reopened(path: Path) -> tuple[bytes, ...]:
    log = WriteAheadLog(path)
    log.close()
    return log.read()


def test_records_survive_reopening(tmp_path: Path) -> None:
    log = WriteAheadLog(tmp_path / "consensus" / "wal")
    log.append(RECORDS[:1])
    log.append(RECORDS[1:])
    log.close()
    again = WriteAheadLog(tmp_path / "consensus" / "wal")
    assert list(again.read()) == RECORDS
    again.append([b"four"])
    again.close()
    assert reopened(tmp_path / "consensus" / "wal") == (*RECORDS, b"four")
    assert (tmp_path / "consensus" / "wal").stat().st_mode & 0o777 == 0o600


def test_a_torn_tail_is_cut_at_any_byte_and_writing_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "wal"
    log = WriteAheadLog(path)
    log.append(RECORDS[:2])
    intact = path.stat().st_size
    log.append(RECORDS[2:])
    log.close()
    data = path.read_bytes()
    for cut in range(intact, len(data)):
        path.write_bytes(data[:cut])
        torn = WriteAheadLog(path)
        assert list(torn.read()) == RECORDS[:2]
        torn.append([b"next"])
        torn.close()
        assert reopened(path) == (*RECORDS[:2], b"next")


def test_damage_in_the_middle_is_an_error_that_names_the_repair(tmp_path: Path) -> None:
    path = tmp_path / "wal"
    log = WriteAheadLog(path)
    log.append(RECORDS)
    log.close()
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedLogError, match="repair-log"):
        WriteAheadLog(path)
    assert path.read_bytes() == data, "nothing is thrown away before the operator says so"


def test_a_cleared_log_is_empty(tmp_path: Path) -> None:
    log = WriteAheadLog(tmp_path / "wal")
    log.append(RECORDS)
    log.clear()
    log.append([b"new"])
    log.close()
    assert reopened(tmp_path / "wal") == (b"new",)


def test_a_repair_keeps_what_precedes_the_damage_and_saves_the_damaged_log(tmp_path: Path) -> None:
    path = tmp_path / "wal"
    log = WriteAheadLog(path)
    log.append(RECORDS[:1])
    kept = path.stat().st_size
    log.append(RECORDS[1:])
    log.close()
    damaged = bytearray(path.read_bytes())
    damaged[kept + 5] ^= 1
    path.write_bytes(damaged)
    repair = repair_log(path)
    assert (repair.kept_records, repair.kept_bytes) == (1, kept)
    assert repair.lost_bytes == len(damaged) - kept
    assert repair.saved_as is not None
    assert repair.saved_as.read_bytes() == damaged
    assert reopened(path) == (RECORDS[0],)


def test_a_whole_log_is_not_repaired(tmp_path: Path) -> None:
    path = tmp_path / "wal"
    log = WriteAheadLog(path)
    log.append(RECORDS)
    log.close()
    assert repair_log(path) == LogRepair(3, path.stat().st_size, 0, None)
    assert list(tmp_path.iterdir()) == [path]
