from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from node.keys import keystore
from node.keys.keystore import LIGHT_COST
from tests.node.commands.support.calling import OpenLedger

PHRASE: Final = "bottom drive obey lake curtain smoke basket hold race lonely fit walk"


@pytest.fixture(autouse=True)
def cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sealing takes a tenth of a second instead of a whole one."""
    monkeypatch.setattr(keystore.Keystore.add, "__defaults__", ("", LIGHT_COST))


@pytest.fixture
def offline(tmp_path: Path) -> OpenLedger:
    return OpenLedger("ws://127.0.0.1:1", tmp_path / "keys")


@pytest.fixture
def password(tmp_path: Path) -> str:
    path = tmp_path / "password"
    path.write_text("correct horse\n")
    return str(path)


@pytest.fixture
def wrong_password(tmp_path: Path) -> str:
    path = tmp_path / "wrong"
    path.write_text("wrong horse\n")
    return str(path)


def test_a_generated_key_is_restored_by_its_phrase(
    offline: OpenLedger, password: str, tmp_path: Path
) -> None:
    made = offline.json("key", "generate", "mine", "--password-file", password)
    phrase = tmp_path / "phrase"
    phrase.write_text(made["phrase"])
    other = OpenLedger("ws://127.0.0.1:1", tmp_path / "other")
    words = ("--phrase-file", str(phrase), "--password-file", password)
    assert other.json("key", "import", "again", *words)["address"] == made["address"]


def test_an_exported_key_comes_back_through_the_wallets_format(
    offline: OpenLedger, password: str, tmp_path: Path
) -> None:
    made = offline.json("key", "generate", "mine", "--kind", "sr25519", "--password-file", password)
    out = tmp_path / "wallet.json"
    offline.json("key", "export", "mine", "--out", str(out), "--password-file", password)
    assert json.loads(out.read_text())["encoding"]["version"] == "3"
    assert out.stat().st_mode & 0o777 == 0o600
    other = OpenLedger("ws://127.0.0.1:1", tmp_path / "other")
    words = ("--wallet-file", str(out), "--password-file", password)
    assert other.json("key", "import", "again", *words)["address"] == made["address"]


def test_keys_are_listed_and_inspected_without_their_password(
    offline: OpenLedger, password: str
) -> None:
    made = offline.json("key", "generate", "mine", "--password-file", password)
    listed = offline.json("key", "list")["keys"]
    assert [key["address"] for key in listed] == [made["address"]]
    assert offline.json("key", "inspect", "mine")["address"] == made["address"]
    assert offline.json("key", "inspect", made["public_key"])["address"] == made["address"]


def test_a_phrase_is_inspected_without_being_stored(offline: OpenLedger, tmp_path: Path) -> None:
    phrase = tmp_path / "phrase"
    phrase.write_text(f"{PHRASE}//Alice\n")
    expected = offline.json("key", "inspect", "//Alice")
    assert offline.json("key", "inspect", "--phrase-file", str(phrase)) == expected
    called = offline("key", "inspect", f"{PHRASE}//Alice", "--json")
    assert called.document == expected
    assert "history" in called.err, "a phrase on the command line stays there"
    other = offline.json("key", "inspect", f"{PHRASE}//Alice", "--kind", "sr25519")
    assert other == offline.json("key", "inspect", "sr25519://Alice")
    assert offline.json("key", "list")["keys"] == []
    called = offline("key", "inspect", "bottom drive obey bottom")
    assert (called.exit_code, "not a valid mnemonic" in called.err) == (2, True)
    assert "obey" not in called.err, "no phrase is printed"


def test_a_key_of_the_keystore_signs(
    openledger: OpenLedger, password: str, wrong_password: str
) -> None:
    made = openledger.json("key", "generate", "mine", "--password-file", password)
    openledger.json("account", "transfer", made["address"], "5OPEN", "--from", "//Alice")
    words = ("account", "transfer", "//Bob", "1OPEN", "--from", "mine")
    assert openledger.json(*words, "--dry-run")["succeeds"]
    called = openledger(*words)
    assert called.exit_code == 6
    assert "no terminal to ask on" in called.err
    called = openledger(*words, "--password-file", wrong_password)
    assert called.exit_code == 6
    assert "does not open the key" in called.err
    assert openledger.json(*words, "--password-file", password)["status"] == "included"
    assert openledger.json("account", "balance", "mine")["nonce"] == 1


def test_a_damaged_key_file_is_told(offline: OpenLedger, password: str) -> None:
    made = offline.json("key", "generate", "mine", "--password-file", password)
    Path(made["file"]).write_text("{")
    called = offline("key", "list")
    assert called.exit_code == 8
    assert "damaged" in called.err


def test_a_name_is_taken_once(offline: OpenLedger, password: str) -> None:
    offline.json("key", "generate", "mine", "--password-file", password)
    called = offline("key", "generate", "mine", "--password-file", password)
    assert called.exit_code == 2
    assert "already has a key" in called.err


@pytest.mark.parametrize(
    ("words", "exit_code", "sentence"),
    [
        (("generate", "mine"), 6, "no terminal"),
        (("generate", "mine", "--password-file", "/nowhere"), 2, "No such file"),
        (("generate", "mine", "--kind", "ecdsa"), 2, "ecdsa"),
        (("import", "mine"), 6, "on a terminal"),
        (("inspect", "nobody"), 2, "is no account"),
        (("inspect", "nobody"), 2, "There is no key 'nobody' in"),
        (("export", "nobody", "--out", "x"), 2, "There is no key"),
        (("export", "nobody"), 2, "--out"),
    ],
)
def test_a_mistake_ends_with_a_sentence(
    offline: OpenLedger, words: tuple[str, ...], exit_code: int, sentence: str
) -> None:
    called = offline("key", *words)
    assert called.exit_code == exit_code
    assert sentence in called.err


def test_a_bad_phrase_is_told(offline: OpenLedger, password: str, tmp_path: Path) -> None:
    phrase = tmp_path / "phrase"
    phrase.write_text(PHRASE.replace("walk", "drive"))
    called = offline(
        "key", "import", "mine", "--phrase-file", str(phrase), "--password-file", password
    )
    assert called.exit_code == 2
    assert "not a valid mnemonic" in called.err


def test_an_empty_password_is_refused(offline: OpenLedger, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    called = offline("key", "generate", "mine", "--password-file", str(empty))
    assert called.exit_code == 2
    assert "needs a password" in called.err
