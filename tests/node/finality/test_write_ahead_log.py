"""The journal keeps what was appended, cuts a torn tail, and shrinks when it may."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus.write_ahead_log import DamagedLogError
from node.finality.write_ahead_log import Journal, LogRepair, repair_log
from node.storage.log_file import ShortWriteError

RECORDS = [b"one", b"two" * 50, b"three"]


def reopened(path: Path) -> tuple[bytes, ...]:
    journal = Journal(path)
    journal.close()
    return journal.records


def test_records_survive_reopening(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "consensus" / "wal")
    journal.append(RECORDS[:1])
    journal.append(RECORDS[1:])
    journal.close()
    again = Journal(tmp_path / "consensus" / "wal")
    assert list(again.records) == RECORDS
    again.append([b"four"])
    again.close()
    assert reopened(tmp_path / "consensus" / "wal") == (*RECORDS, b"four")
    assert (tmp_path / "consensus" / "wal").stat().st_mode & 0o777 == 0o600


def test_a_torn_tail_is_cut_at_any_byte_and_writing_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "wal"
    journal = Journal(path)
    journal.append(RECORDS[:2])
    intact = path.stat().st_size
    journal.append(RECORDS[2:])
    journal.close()
    data = path.read_bytes()
    for cut in range(intact, len(data)):
        path.write_bytes(data[:cut])
        torn = Journal(path)
        assert list(torn.records) == RECORDS[:2]
        torn.append([b"next"])
        torn.close()
        assert reopened(path) == (*RECORDS[:2], b"next")


def test_damage_in_the_middle_is_an_error_that_names_the_repair(tmp_path: Path) -> None:
    path = tmp_path / "wal"
    journal = Journal(path)
    journal.append(RECORDS)
    journal.close()
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedLogError, match="repair-log"):
        Journal(path)
    assert path.read_bytes() == data, "nothing is thrown away before the operator says so"


def test_a_cleared_journal_is_empty(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "wal")
    journal.append(RECORDS)
    journal.clear()
    journal.append([b"new"])
    journal.close()
    assert reopened(tmp_path / "wal") == (b"new",)


def test_a_disk_that_takes_a_part_leaves_no_torn_record_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Near a full disk a write may be short and report no error."""
    path = tmp_path / "wal"
    journal = Journal(path)
    journal.append(RECORDS[:1])
    whole = journal._file

    class Short:
        name = str(path)

        def write(self, data: bytes) -> int:
            return whole.write(data[:5])

        def fileno(self) -> int:
            return whole.fileno()

    monkeypatch.setattr(journal, "_file", Short())
    with pytest.raises(ShortWriteError, match="took 5 of"):
        journal.append(RECORDS[1:2])
    monkeypatch.setattr(journal, "_file", whole)
    journal.append(RECORDS[2:])
    journal.close()
    assert reopened(path) == (RECORDS[0], RECORDS[2])


def test_a_repair_keeps_what_precedes_the_damage_and_saves_the_damaged_log(tmp_path: Path) -> None:
    path = tmp_path / "wal"
    journal = Journal(path)
    journal.append(RECORDS[:1])
    kept = path.stat().st_size
    journal.append(RECORDS[1:])
    journal.close()
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
    journal = Journal(path)
    journal.append(RECORDS)
    journal.close()
    assert repair_log(path) == LogRepair(3, path.stat().st_size, 0, None)
    assert list(tmp_path.iterdir()) == [path]
