from __future__ import annotations

from pathlib import Path

from ml.durable_file import write_durably


def test_an_atomic_write_leaves_no_other_file(tmp_path: Path) -> None:
    write_durably(tmp_path / "file", b"one")
    write_durably(tmp_path / "file", b"two")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"two"
