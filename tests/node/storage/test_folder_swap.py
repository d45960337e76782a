"""A folder takes the place of another, and whatever ends it, one of the two is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.storage.folder_swap import former_folder, put_back, put_in_place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("folder", "draft"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    return tmp_path / "folder"


def contents(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_folder_takes_the_place_of_another(folder: Path) -> None:
    put_in_place(folder.with_name("draft"), folder)
    assert contents(folder) == ["draft"]
    assert contents(folder.parent) == ["folder"]


def test_a_new_folder_takes_an_empty_place(folder: Path) -> None:
    put_in_place(folder.with_name("draft"), folder.with_name("new"))
    assert contents(folder.with_name("new")) == ["draft"]


def test_a_swap_that_fails_in_its_middle_is_undone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if path.name == "draft":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        put_in_place(folder.with_name("draft"), folder)
    assert contents(folder) == ["folder"]


def test_a_folder_whose_swap_was_killed_comes_back(folder: Path) -> None:
    folder.rename(former_folder(folder))
    put_back(folder)
    assert contents(folder) == ["folder"]
    folder.rename(former_folder(folder))
    put_in_place(folder.with_name("draft"), folder)
    assert contents(folder) == ["draft"]


def test_a_former_folder_stays_aside_while_the_new_one_stands(folder: Path) -> None:
    former_folder(folder).mkdir()
    put_back(folder)
    assert contents(folder) == ["folder"]
    put_in_place(folder.with_name("draft"), folder)
    assert contents(folder.parent) == ["folder"]
