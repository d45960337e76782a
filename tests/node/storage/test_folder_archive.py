"""A folder becomes a file and a folder again, byte for byte; half a file is refused."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import tarfile
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.storage.folder_archive import (
    MANIFEST,
    ArchiveError,
    Manifest,
    pack,
    unpack,
)


def manifest() -> Manifest:
    return Manifest(
        chain="dev", genesis_hash="0x", block_number=1, block_hash="0x", is_moved=False,
        moves=[], taken_at="now",
    )  # fmt: skip


NAMES = frozenset({"db", "receipts"})


def quiet(done: int, total: int) -> None:
    assert 0 <= done <= total


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "db").mkdir(parents=True)
    for name in ("db/a", "db/LOCK", "receipts", "peer.seed", "db/x.lock", "control.sock", "y.part"):
        (folder / name).write_bytes(name.encode() * 100)
    return folder


def test_files_come_back_as_they_were_without_locks_and_drafts(
    folder: Path, tmp_path: Path
) -> None:
    size = pack(folder, tmp_path / "file", manifest(), NAMES, quiet)
    assert size == (tmp_path / "file").stat().st_size
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    read = unpack(tmp_path / "file", tmp_path / "new", NAMES, quiet)
    assert set(read.files) == {"db/a", "receipts"}
    found = {str(path.relative_to(tmp_path / "new")) for path in (tmp_path / "new").rglob("*")}
    assert found == {"db", "db/a", "receipts"}
    assert (tmp_path / "new/db/a").read_bytes() == (folder / "db/a").read_bytes()
    with pytest.raises(FileExistsError):
        pack(folder, tmp_path / "file", manifest(), NAMES, quiet)


@pytest.mark.parametrize("part", [0, 600, 1_200, -1_024, -20_000])
def test_a_file_that_was_cut_off_is_refused(folder: Path, tmp_path: Path, part: int) -> None:
    pack(folder, tmp_path / "file", manifest(), NAMES, quiet)
    (tmp_path / "cut").write_bytes((tmp_path / "file").read_bytes()[: part or 0])
    try:
        unpack(tmp_path / "cut", tmp_path / "new", NAMES, quiet)
    except ArchiveError:
        return
    whole = (tmp_path / "file").read_bytes()
    assert whole[part:].strip(b"\0") == b"", "only the padding at the end was cut"


def archive_with(path: Path, *entries: tarfile.TarInfo, said: dict[str, Any] | None = None) -> None:
    """Write a snapshot with these members, each of one byte, and a manifest that fits."""
    document = {**asdict(manifest()), **(said or {})}
    document.setdefault("files", {})
    if said is None or "files" not in said:
        document["files"] = {entry.name: hashlib.sha256(b"x").hexdigest() for entry in entries}
    text = json.dumps(document).encode()
    last = tarfile.TarInfo(MANIFEST)
    last.size = len(text)
    with tarfile.open(path, "w") as archive:
        for entry in entries:
            archive.addfile(entry, io.BytesIO(b"x"))
        archive.addfile(last, io.BytesIO(text))


def entry(name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o755) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.mode, made.linkname = kind, mode, "../outside"
    made.size = 1 if kind == tarfile.REGTYPE else 0
    return made


HOSTILE = {
    "above": entry("../outside"),
    "above, from within": entry("db/../../outside"),
    "absolute": entry("/tmp/outside"),
    "another name": entry("authorized_keys"),
    "a name that begins alike": entry("db2/a"),
    "the name itself with a dot": entry("./db/a"),
    "a link": entry("db/a", tarfile.SYMTYPE),
    "a hard link": entry("db/a", tarfile.LNKTYPE),
    "a device": entry("db/a", tarfile.CHRTYPE),
    "a pipe": entry("db/a", tarfile.FIFOTYPE),
    "empty": entry(""),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_file_writes_nothing_but_plain_files_of_a_node(tmp_path: Path, case: str) -> None:
    archive_with(tmp_path / "file", HOSTILE[case])
    with pytest.raises(ArchiveError):
        unpack(tmp_path / "file", tmp_path / "new" / "inner", NAMES, quiet)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written == [tmp_path / "file"]


def test_the_modes_in_a_file_count_for_nothing(tmp_path: Path) -> None:
    archive_with(tmp_path / "file", entry("db/a", mode=0o4777))
    unpack(tmp_path / "file", tmp_path / "new", NAMES, quiet)
    assert stat.S_IMODE((tmp_path / "new/db/a").stat().st_mode) == 0o600


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    for second in ("db/a", "db/a/b"):
        archive_with(tmp_path / "file", entry("db/a"), entry(second))
        with pytest.raises(ArchiveError):
            unpack(tmp_path / "file", tmp_path / f"new {len(second)}", NAMES, quiet)


@pytest.mark.parametrize(
    "said",
    [
        {"chain": 5},
        {"block_number": "1"},
        {"block_number": True},
        {"is_moved": 1},
        {"files": ["db/a"]},
        {"files": {"db/a": 7}},
        {"version": "1"},
        {"more": 1},
        {"moves": "00"},
        {"moves": [1]},
        {"moves": ["../../x"]},
        {"moves": ["00" * 16 + "\n"]},
        {"is_moved": True},
    ],
)
def test_a_manifest_of_other_types_is_refused(tmp_path: Path, said: dict[str, Any]) -> None:
    archive_with(tmp_path / "file", entry("db/a"), said=said)
    with pytest.raises(ArchiveError, match="manifest cannot be read"):
        unpack(tmp_path / "file", tmp_path / "new", NAMES, quiet)


@given(st.binary(max_size=3_000))
def test_any_bytes_are_refused_or_stay_in_the_folder(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "file").write_bytes(data)
        with pytest.raises(ArchiveError):
            unpack(folder / "file", folder / "new", NAMES, quiet)
