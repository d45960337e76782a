"""Messages are signed as wallets sign them, and verified however they were signed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node.keys import keystore
from node.keys.keystore import LIGHT_COST
from tests.conftest import VECTORS
from tests.node.commands.support.calling import OpenLedger

WALLET = json.loads((VECTORS / "polkadot_js_keystore.json").read_text())
SIGNED = [case for case in WALLET["cases"] if "signature" in case]


@pytest.fixture(autouse=True)
def cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sealing takes a tenth of a second instead of a whole one."""
    monkeypatch.setattr(keystore.Keystore.add, "__defaults__", ("", LIGHT_COST))


@pytest.fixture
def offline(tmp_path: Path) -> OpenLedger:
    return OpenLedger("ws://127.0.0.1:1", tmp_path / "keys")


@pytest.mark.parametrize("key", ["//Alice", "sr25519://Alice"])
@pytest.mark.parametrize("raw", [(), ("--raw",)])
def test_what_a_key_signed_is_verified_by_its_address(
    offline: OpenLedger, key: str, raw: tuple[str, ...]
) -> None:
    signed = offline.json("key", "sign", key, "I am Alice", *raw)
    checked = offline.json("key", "verify", signed["address"], signed["signature"], "I am Alice")
    assert checked == signed
    assert checked["is_wrapped"] is (not raw)
    by_file = ("key", "verify", key, signed["signature"])
    assert offline(*by_file, "I am Bob").exit_code == 1
    assert offline("key", "verify", "//Bob", signed["signature"], "I am Alice").exit_code == 1


@pytest.mark.parametrize("case", SIGNED, ids=lambda case: case["uri"])
def test_a_signature_of_polkadot_js_is_verified(
    offline: OpenLedger, tmp_path: Path, case: dict[str, str]
) -> None:
    message = tmp_path / "message"
    message.write_bytes(bytes.fromhex(case["message"][2:]))
    address = json.loads(json.dumps(case["file"]))["address"]
    words = ("key", "verify", address, case["signature"], "--file", str(message))
    assert offline.json(*words)["is_wrapped"] is False


def test_a_key_of_the_keystore_signs_a_file(offline: OpenLedger, tmp_path: Path) -> None:
    password, message = tmp_path / "password", tmp_path / "message"
    password.write_text("correct horse\n")
    message.write_bytes(b"\0\1binary")
    offline.json("key", "generate", "mine", "--password-file", str(password))
    words = ("key", "sign", "mine", "--file", str(message))
    assert offline(*words).exit_code == 6
    signed = offline.json(*words, "--password-file", str(password))
    checked = ("key", "verify", "mine", signed["signature"], "--file", str(message))
    assert offline.json(*checked)["message_bytes"] == 8


@pytest.mark.parametrize(
    ("words", "exit_code", "sentence"),
    [
        (("sign", "nosuch", "text"), 2, "There is no key 'nosuch' in"),
        (("sign", "//Alice"), 2, "either as an argument or with --file"),
        (("sign", "//Alice", "a", "--file", "b"), 2, "either as an argument or with --file"),
        (("sign", "//Alice", "--file", "/nowhere"), 2, "No such file"),
        (("verify", "//Alice", "0x12", "text"), 2, "128 hex digits"),
        (("verify", "nosuch", "0x" + "00" * 64, "text"), 2, "There is no key 'nosuch' in"),
        (("verify", "//Alice", "0x" + "00" * 64, "text"), 1, "is not one by"),
    ],
)
def test_a_mistake_ends_with_a_sentence(
    offline: OpenLedger, words: tuple[str, ...], exit_code: int, sentence: str
) -> None:
    called = offline("key", *words)
    assert called.exit_code == exit_code
    assert sentence in called.err
