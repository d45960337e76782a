import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.keys import keystore
from node.keys.keystore import (
    LIGHT_COST,
    DamagedKeyFileError,
    EmptyPasswordError,
    KeyExistsError,
    KeyFileModeError,
    KeyFileVersionError,
    KeyNotFoundError,
    Keystore,
    KeystoreError,
    ScryptCostError,
    WrongPasswordError,
    seal,
    unseal,
)
from runtime.crypto.keys import KeyKind, Keypair, verify
from tests.conftest import VECTORS

VECTORS = json.loads((VECTORS / "polkadot_js_keystore.json").read_text())
SEALED = [case for case in VECTORS["cases"] if "signature" in case]
ALICE = Keypair.from_uri("//Alice")


@pytest.fixture(scope="module")
def sealed() -> dict[str, Any]:
    return json.loads(seal(ALICE, "password", cost=LIGHT_COST))


def kind_of(case: dict[str, Any]) -> KeyKind:
    return KeyKind[case["file"]["encoding"]["content"][1].upper()]


@pytest.mark.parametrize("case", SEALED, ids=lambda case: kind_of(case).name)
def test_a_file_of_polkadot_js_opens_to_its_key(case: dict[str, Any]) -> None:
    pair = unseal(json.dumps(case["file"]), VECTORS["password"])
    assert pair.account == Keypair.from_uri(case["uri"], kind_of(case)).account
    message = bytes.fromhex(case["message"][2:])
    assert verify(pair.kind, bytes.fromhex(case["signature"][2:]), message, pair.account)
    assert verify(pair.kind, pair.sign(message), message, pair.account)


@pytest.mark.parametrize("kind", KeyKind)
def test_a_sealed_key_opens_with_its_password_alone(kind: KeyKind) -> None:
    pair = Keypair.from_uri("//Bob", kind)
    text = seal(pair, "pässword", cost=LIGHT_COST)
    opened = unseal(text, "pässword")
    assert opened.account == pair.account
    assert verify(kind, opened.sign(b"message"), b"message", pair.account)
    with pytest.raises(WrongPasswordError):
        unseal(text, "password")


def test_files_are_for_the_owner_alone_and_named_by_address(tmp_path: Path) -> None:
    store = Keystore(tmp_path / "keys")
    entry = store.add(ALICE, "password", "alice", LIGHT_COST)
    assert entry.path.stat().st_mode & 0o777 == 0o600
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in store.folder.iterdir()] == [f"{entry.address}.json"]
    assert store.entries() == [entry]
    assert store.load("alice", "password") == ALICE
    assert store.load(entry.address, "password") == ALICE


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    store = Keystore(tmp_path)
    store.add(ALICE, "password", "alice", LIGHT_COST)
    with pytest.raises(KeyExistsError, match="already has a key alice"):
        store.add(ALICE, "other", cost=LIGHT_COST)
    with pytest.raises(KeyExistsError):
        store.add(Keypair.from_uri("//Bob"), "other", "alice", LIGHT_COST)
    with pytest.raises(KeyExistsError, match="already exists"):
        keystore._write_whole(store.find("alice").path, "text")
    assert store.load("alice", "password") == ALICE
    assert len(list(tmp_path.iterdir())) == 1


def test_a_removed_key_is_gone(tmp_path: Path) -> None:
    store = Keystore(tmp_path)
    store.add(ALICE, "password", "alice", LIGHT_COST)
    store.remove("alice")
    with pytest.raises(KeyNotFoundError, match="It has: none"):
        store.load("alice", "password")


def test_a_missing_folder_holds_no_keys(tmp_path: Path) -> None:
    assert Keystore(tmp_path / "none").entries() == []


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    store = Keystore(tmp_path)
    store.add(ALICE, "password", "alice", LIGHT_COST).path.chmod(0o640)
    with pytest.raises(KeyFileModeError, match="chmod 600"):
        store.load("alice", "password")


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(handle: int) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        Keystore(tmp_path).add(ALICE, "password", "alice", LIGHT_COST)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_password_is_refused() -> None:
    with pytest.raises(EmptyPasswordError, match="not empty"):
        seal(ALICE, "")


@pytest.mark.parametrize(
    ("n", "p", "r"),
    [(1 << 30, 1, 8), (1 << 17, 1 << 20, 8), (1 << 17, 1, 1 << 20), (2, 1, 8), (0,) * 3],
)
def test_other_scrypt_costs_are_refused_before_any_work(
    sealed: dict[str, Any], n: int, p: int, r: int
) -> None:
    raw = bytearray(base64.b64decode(sealed["encoded"]))
    raw[32:44] = b"".join(number.to_bytes(4, "little") for number in (n, p, r))
    changed = sealed | {"encoded": base64.b64encode(raw).decode()}
    with pytest.raises(ScryptCostError, match=f"n={n}, p={p}, r={r}"):
        unseal(json.dumps(changed), "password")


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("version", "2"),
        ("version", "4"),
        ("version", None),
        ("type", ["none"]),
        ("type", ["xsalsa20-poly1305"]),
        ("content", ["pkcs8", "ecdsa"]),
        ("content", ["pkcs8", {}]),
    ],
)
def test_another_version_sealing_or_kind_is_refused(
    sealed: dict[str, Any], part: str, value: object
) -> None:
    changed = sealed | {"encoding": sealed["encoding"] | {part: value}}
    with pytest.raises(KeyFileVersionError):
        unseal(json.dumps(changed), "password")


@pytest.mark.parametrize(
    "change",
    [
        {"encoded": ""},
        {"encoded": None},
        {"encoded": "not base64!"},
        {"encoded": "0xzz"},
        {"encoded": "AAAA"},
        {"encoding": None},
        {"encoding": {"version": "3", "type": ["scrypt", "xsalsa20-poly1305"]}},
        {"address": "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"},
        {"address": "5GrwvaEF"},
        {"address": 7},
    ],
    ids=str,
)
def test_a_damaged_part_is_named(sealed: dict[str, Any], change: dict[str, object]) -> None:
    with pytest.raises(DamagedKeyFileError, match="is damaged"):
        unseal(json.dumps(sealed | change), "password")


def test_a_key_whose_kind_was_changed_is_refused(sealed: dict[str, Any]) -> None:
    content = sealed["encoding"] | {"content": ["pkcs8", "sr25519"]}
    with pytest.raises(DamagedKeyFileError):
        unseal(json.dumps(sealed | {"encoding": content}), "password")


@pytest.mark.parametrize("data", [b"\xff\xfe", b"{", b"[]", b"[" * 60_000, bytes(70_000)])
def test_a_file_that_is_no_key_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "key.json").write_bytes(data)
    with pytest.raises(DamagedKeyFileError):
        Keystore(tmp_path).entries()


def test_a_changed_seal_does_not_open(sealed: dict[str, Any]) -> None:
    raw = bytearray(base64.b64decode(sealed["encoded"]))
    raw[-1] ^= 1
    with pytest.raises(WrongPasswordError):
        unseal(json.dumps(sealed | {"encoded": base64.b64encode(raw).decode()}), "password")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["encoded", "encoding", "address", "meta"]), JSON)
def test_an_arbitrary_part_is_refused_with_a_keystore_error(part: str, value: object) -> None:
    document = dict(SEALED[0]["file"]) | {"encoded": "AAAA", part: value}
    with pytest.raises(KeystoreError):
        unseal(json.dumps(document), "password")


@given(st.binary(max_size=200), st.sampled_from(list(KeyKind)))
def test_an_arbitrary_record_is_a_key_or_damaged(tail: bytes, kind: KeyKind) -> None:
    for record in (tail, keystore._PKCS8_HEAD + tail):
        with pytest.raises(DamagedKeyFileError):
            keystore._pair_of(record, kind)


def test_a_seed_in_place_of_the_secret_is_read_as_old_wallets_wrote_it() -> None:
    for kind in KeyKind:
        seed = bytes(range(32))
        pair = Keypair.from_seed(seed, kind)
        record = keystore._PKCS8_HEAD + seed + keystore._PKCS8_DIVIDER + pair.account
        assert keystore._pair_of(record, kind).account == pair.account
