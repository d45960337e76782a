from __future__ import annotations

from pathlib import Path

import pytest

from node.devnet import folders
from node.devnet.errors import DevnetExistsError, DevnetNameError, UnknownDevnetError
from node.devnet.state import DevnetState, Settings, write_state


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(folders.ROOT_VARIABLE, str(tmp_path / "devnets"))
    return tmp_path / "devnets"


def make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_state(folder, DevnetState(folder.name, Settings(), (), 0))


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".saves", "-x", "a" * 65, "a\n"])
def test_a_name_that_is_no_plain_word_is_refused(name: str) -> None:
    for function in (folders.folder_of, folders.save_of, folders.open_folder):
        with pytest.raises(DevnetNameError):
            function(name)


def test_a_devnet_that_is_not_there_tells_which_are(root: Path) -> None:
    make(root / "one")
    make(root / ".saves" / "old")
    with pytest.raises(UnknownDevnetError, match="no devnet two; there is: one"):
        folders.open_folder("two")
    assert folders.names() == ["one"]
    assert folders.save_names() == ["old"]


def test_a_name_may_stand_for_a_folder_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    assert folders.link("far", elsewhere) == elsewhere
    make(elsewhere)
    assert folders.open_folder("far") == elsewhere
    assert folders.is_linked("far")
    assert folders.link("far", elsewhere) == elsewhere
    with pytest.raises(DevnetExistsError, match="another --name"):
        folders.link("far", tmp_path / "third")


def test_a_name_whose_folder_is_gone_may_be_given_again(tmp_path: Path) -> None:
    folders.link("far", tmp_path / "first").rmdir()
    assert folders.link("far", tmp_path / "second") == tmp_path / "second"
    folders.forget("far")
    assert not folders.is_linked("far")
