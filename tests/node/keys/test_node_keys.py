"""The node's key: a development key on development chains, else one of the keystore."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.keys.keystore import LIGHT_COST, Keystore
from node.keys.node_keys import load_pair, load_session_pair
from node.operations.config import ConfigError, NodeConfig
from node.operations.data_folder import KEYSTORE_FOLDER
from runtime.crypto.keys import KeyKind, Keypair
from runtime.errors import ExitCode

QUICK = LIGHT_COST


def test_a_development_key_signs_on_development_chains_alone(tmp_path: Path) -> None:
    for kind in ("Development", "Local"):
        pair = load_pair(NodeConfig(tmp_path), kind)
        assert pair.account == Keypair.from_uri("//Alice").account
    with pytest.raises(ConfigError, match="everyone knows"):
        load_pair(NodeConfig(tmp_path, "main.json"), "Live")


def test_an_empty_derivation_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="//"):
        load_pair(NodeConfig(tmp_path, account="//"), "Local")


def test_a_key_of_the_keystore_is_unlocked_by_its_password_file(tmp_path: Path) -> None:
    store, pair = Keystore(tmp_path / KEYSTORE_FOLDER), Keypair.from_uri("//Node")
    store.add(pair, "secret word", "node", QUICK)
    store.add(Keypair.from_uri("//Node", KeyKind.SR25519), "secret word", "other", QUICK)
    password = tmp_path / "password"
    password.write_text("secret word\n")
    config = NodeConfig(tmp_path, "main.json", account="node", password_file=password)
    assert load_pair(config, "Live").account == pair.account
    for account, file, reason in (
        ("node", None, "password-file"),
        ("node", tmp_path / "missing", "cannot be unlocked"),
        ("nobody", password, "There is no key 'nobody' in .*keys"),
        ("nobody", None, "There is no key 'nobody' in .*keys"),
        ("other", password, "ed25519"),
    ):
        with pytest.raises(ConfigError, match=reason):
            load_pair(NodeConfig(tmp_path, account=account, password_file=file), "Local")
    password.write_text("wrong word\n")
    with pytest.raises(ConfigError, match="cannot be unlocked"):
        load_pair(config, "Live")


def test_each_key_has_a_password_file_of_its_own(tmp_path: Path) -> None:
    store, files = Keystore(tmp_path / KEYSTORE_FOLDER), {}
    for name in ("account", "session"):
        store.add(Keypair.from_uri(f"//{name}"), f"word of {name}", name, QUICK)
        files[name] = tmp_path / f"{name}.password"
        files[name].write_text(f"word of {name}\n")
    config = NodeConfig(
        tmp_path,
        account="account",
        session_key="session",
        password_file=files["account"],
        session_password_file=files["session"],
    )
    assert load_pair(config, "Live").account == Keypair.from_uri("//account").account
    assert load_session_pair(config, "Live").account == Keypair.from_uri("//session").account


def test_a_key_that_cannot_be_opened_has_the_code_of_a_locked_key(tmp_path: Path) -> None:
    Keystore(tmp_path / KEYSTORE_FOLDER).add(Keypair.from_uri("//Node"), "a word", "node", QUICK)
    password = tmp_path / "password"
    password.write_text("another")
    for file in (None, password, tmp_path / "missing"):
        with pytest.raises(ConfigError) as error:
            load_pair(NodeConfig(tmp_path, account="node", password_file=file), "Live")
        assert error.value.exit_code is ExitCode.LOCKED
