"""A folder becomes a file and a folder again, byte for byte; half a file is refused."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from node.commands.chain.folder_archive import (
    ArchiveError,
    Manifest,
    pack,
    put_in_place,
    unpack,
)


def manifest() -> Manifest:
    return Manifest(
        chain="dev", genesis_hash="0x", block_number=1, block_hash="0x", is_moved=False,
        taken_at="now", files={},
    )  # fmt: skip


def quiet(done: int, total: int) -> None:
    assert 0 <= done <= total


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "db").mkdir(parents=True)
    for name in ("db/a", "db/LOCK", "peer.seed", "x.lock", "control.sock", "y.part"):
        (folder / name).write_bytes(name.encode() * 100)
    return folder


def test_files_come_back_as_they_were_without_locks_and_drafts(
    folder: Path, tmp_path: Path
) -> None:
    size = pack(folder, tmp_path / "file", manifest(), {"peer.seed"}, quiet)
    assert size == (tmp_path / "file").stat().st_size
    read = unpack(tmp_path / "file", tmp_path / "new", quiet)
    assert set(read.files) == {"db/a"}
    found = {str(path.relative_to(tmp_path / "new")) for path in (tmp_path / "new").rglob("*")}
    assert found == {"db", "db/a"}
    assert (tmp_path / "new/db/a").read_bytes() == (folder / "db/a").read_bytes()
    with pytest.raises(FileExistsError):
        pack(folder, tmp_path / "file", manifest(), set(), quiet)


@pytest.mark.parametrize("part", [0, 600, 1_200, -1_024, -20_000])
def test_a_file_that_was_cut_off_is_refused(folder: Path, tmp_path: Path, part: int) -> None:
    pack(folder, tmp_path / "file", manifest(), set(), quiet)
    (tmp_path / "cut").write_bytes((tmp_path / "file").read_bytes()[: part or 0])
    try:
        unpack(tmp_path / "cut", tmp_path / "new", quiet)
    except ArchiveError:
        return
    whole = (tmp_path / "file").read_bytes()
    assert whole[part:].strip(b"\0") == b"", "only the padding at the end was cut"


def test_a_file_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "file", "w") as archive:
        entry = tarfile.TarInfo("../outside")
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"x"))
    with pytest.raises(ArchiveError):
        unpack(tmp_path / "file", tmp_path / "new" / "inner", quiet)
    assert not (tmp_path / "new" / "outside").exists()


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    for name in ("old", "draft"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    put_in_place(tmp_path / "draft", tmp_path / "old")
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["draft"]
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
