"""Keys are renamed, sealed anew and removed; a mistake changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node.keys import keystore
from node.keys.keystore import LIGHT_COST, Keystore
from tests.node.commands.support.calling import OpenLedger


@pytest.fixture(autouse=True)
def cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sealing takes a tenth of a second instead of a whole one."""
    monkeypatch.setattr(keystore.Keystore.add, "__defaults__", ("", LIGHT_COST))
    monkeypatch.setattr(keystore.Keystore.change_password, "__defaults__", (LIGHT_COST,))


@pytest.fixture
def offline(tmp_path: Path) -> OpenLedger:
    return OpenLedger("ws://127.0.0.1:1", tmp_path / "keys")


@pytest.fixture
def password(tmp_path: Path) -> str:
    path = tmp_path / "password"
    path.write_text("correct horse\n")
    return str(path)


@pytest.fixture
def address(offline: OpenLedger, password: str) -> str:
    made: str = offline.json("key", "generate", "mine", "--password-file", password)["address"]
    return made


def test_a_renamed_key_has_its_address_and_password(
    offline: OpenLedger, address: str, password: str, tmp_path: Path
) -> None:
    assert offline.json("key", "rename", "mine", "savings")["name"] == "savings"
    assert [key["name"] for key in offline.json("key", "list")["keys"]] == ["savings"]
    pair = Keystore(tmp_path / "keys").load("savings", "correct horse")
    assert offline.json("key", "inspect", "savings")["address"] == address
    assert pair.account.hex() == offline.json("key", "inspect", address)["public_key"][2:]
    called = offline("key", "inspect", "mine")
    assert called.exit_code == 2
    assert f"There is no key 'mine' in {tmp_path / 'keys'}" in called.err


def test_a_changed_password_opens_the_key_and_the_former_one_does_not(
    offline: OpenLedger, address: str, password: str, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    new.write_text("battery staple\n")
    file = Path(offline.json("key", "inspect", "mine")["file"])
    document = json.loads(file.read_text())
    document["meta"]["whenCreated"] = 7
    file.write_text(json.dumps(document))
    words = ("key", "change-password", "mine", "--password-file", password)
    assert offline.json(*words, "--new-password-file", str(new))["address"] == address
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text())["meta"] == {"name": "mine", "whenCreated": 7}
    store = Keystore(tmp_path / "keys")
    assert store.load("mine", "battery staple").account
    with pytest.raises(keystore.WrongPasswordError):
        store.load("mine", "correct horse")
    called = offline(*words, "--new-password-file", str(new))
    assert called.exit_code == 6, "the former password is wrong now"


def test_a_new_password_is_not_empty(
    offline: OpenLedger, address: str, password: str, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    words = ("key", "change-password", "mine", "--password-file", password)
    called = offline(*words, "--new-password-file", str(empty))
    assert called.exit_code == 2
    assert "not empty" in called.err
    asked = offline(*words).err
    assert "A new password of mine is asked for and there is no terminal to ask on." in asked
    assert "Name a file that holds it with --new-password-file." in asked
    assert Keystore(tmp_path / "keys").load("mine", "correct horse").account


def test_a_key_is_removed_after_a_confirmation(offline: OpenLedger, address: str) -> None:
    called = offline("key", "remove", "mine", typed="n\n")
    assert (called.exit_code, "Nothing was done" in called.err) == (2, True)
    called = offline("key", "remove", "mine")
    assert (called.exit_code, "--yes" in called.err) == (2, True)
    removed = offline.json("key", "remove", "mine", "--yes")
    assert removed["address"] == address
    assert not Path(removed["removed"]).exists()
    assert offline.json("key", "list")["keys"] == []


@pytest.mark.parametrize(
    "words",
    [("remove", "nosuch", "--yes"), ("rename", "nosuch", "x"), ("change-password", "nosuch")],
)
def test_a_key_that_is_not_there_is_named_with_its_folder(
    offline: OpenLedger, address: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    called = offline("key", *words)
    assert called.exit_code == 2
    assert f"There is no key 'nosuch' in {tmp_path / 'keys'}. It has: mine." in called.err


@pytest.mark.parametrize("name", ["", "//Alice", "other"])
def test_a_key_gets_no_name_that_is_empty_taken_or_read_otherwise(
    offline: OpenLedger, address: str, password: str, name: str
) -> None:
    offline.json("key", "generate", "other", "--password-file", password)
    called = offline("key", "rename", "mine", name)
    assert called.exit_code == 2
    assert offline.json("key", "inspect", "mine")["address"] == address


@pytest.mark.parametrize("word", ["generate", "import"])
def test_an_empty_name_is_refused_before_anything_is_asked(offline: OpenLedger, word: str) -> None:
    called = offline("key", word, "")
    assert called.exit_code == 2
    assert "not empty" in called.err


def linked(file: Path, folder: Path) -> Path:
    """Put a key's file elsewhere, and a link in its place."""
    folder.mkdir()
    target = folder / "real.json"
    file.rename(target)
    file.symlink_to(target)
    return target


def test_a_key_behind_a_link_gets_its_password_where_it_lies(
    offline: OpenLedger, address: str, password: str, tmp_path: Path
) -> None:
    file = Path(offline.json("key", "inspect", "mine")["file"])
    target, new = linked(file, tmp_path / "usb"), tmp_path / "new"
    new.write_text("battery staple\n")
    words = ("key", "change-password", "mine", "--password-file", password)
    offline.json(*words, "--new-password-file", str(new))
    assert file.is_symlink()
    assert keystore.unseal(target.read_text(), "battery staple")


def test_a_key_behind_a_link_is_not_said_to_be_removed(
    offline: OpenLedger, address: str, tmp_path: Path
) -> None:
    file = Path(offline.json("key", "inspect", "mine")["file"])
    target = linked(file, tmp_path / "usb")
    called = offline("key", "remove", "mine", "--yes")
    assert (called.exit_code, str(target) in called.err) == (2, True)
    assert file.is_symlink()
    assert target.exists()


@pytest.mark.parametrize("name", ["//Alice", "a\nb", "\x1b[31mred"])
def test_a_name_that_no_command_could_mean_is_shown_as_none(
    offline: OpenLedger, address: str, name: str
) -> None:
    file = Path(offline.json("key", "inspect", "mine")["file"])
    document = json.loads(file.read_text())
    document["meta"]["name"] = name
    file.write_text(json.dumps(document))
    (key,) = offline.json("key", "list")["keys"]
    assert key["name"] == f"{name!r} (no usable name; use the address)"


def test_a_password_file_that_others_may_read_is_warned_of(
    offline: OpenLedger, address: str, password: str, tmp_path: Path
) -> None:
    Path(password).chmod(0o644)
    words = ("key", "sign", "mine", "text", "--password-file", password)
    assert f"may be read by others. Set its mode: chmod 600 {password}" in offline(*words).err
    Path(password).chmod(0o600)
    assert "Warning" not in offline(*words).err
