"""The data folder of a stopped node is checked whole, without a node."""

from __future__ import annotations

from pathlib import Path

import pytest

from genesis.spec import load_spec
from node.commands.chain.block_file import read_blocks
from node.commands.chain.data_check import check_folder
from node.operations.data_folder import DATABASE_FOLDER, chain_folder
from node.storage.database import Database
from node.storage.errors import DatabaseDamagedError
from node.storage.leveldb import LevelStore
from node.storage.state_layout import SPACES, state_range
from tests.node.commands.support.calling import OpenLedger
from tests.node.support.live_node import LiveNode

NOWHERE = "ws://127.0.0.1:1"


@pytest.fixture
def folder(openledger: OpenLedger, tmp_path: Path) -> Path:
    """A base path with some blocks of the node; its chain's folder is below."""
    for _ in range(3):
        openledger.json("account", "transfer", "//Bob", "1", "--from", "//Alice")
    file = tmp_path / "chain.blocks"
    openledger.json("chain", "export-blocks", str(file))
    openledger.json("chain", "import-blocks", str(file), "--base-path", str(tmp_path / "base"))
    return tmp_path / "base"


def test_a_whole_folder_is_checked_without_a_node(folder: Path, tmp_path: Path) -> None:
    openledger = OpenLedger(NOWHERE, tmp_path / "keys")
    called = openledger("chain", "check", "--base-path", str(folder), "--json")
    assert called.exit_code == 0, called.err
    assert "What is stored is whole" in called.err
    assert "every state root is exact" in called.err
    _, blocks = read_blocks(tmp_path / "chain.blocks")
    assert called.document["blocks"] == len(list(blocks))


def test_a_changed_entry_of_the_state_is_found(folder: Path) -> None:
    data = chain_folder(folder, "dev")
    store = LevelStore.open(data / DATABASE_FOLDER, create=False)
    name, value = next(store.reader.pairs(*state_range(SPACES[0], nodes=False)))
    store.write({name: value[:-1] + bytes([value[-1] ^ 1])})
    store.close()
    with pytest.raises(DatabaseDamagedError, match="state root"):
        check_folder(load_spec("dev"), data, lambda done, last: None)


def test_the_folder_of_a_running_node_is_refused(node: LiveNode, tmp_path: Path) -> None:
    base = tmp_path / "base"
    data = chain_folder(base, "dev")
    data.mkdir(parents=True)
    openledger = OpenLedger(NOWHERE, tmp_path / "keys")
    with Database.open(data / DATABASE_FOLDER):
        called = openledger("chain", "check", "--base-path", str(base))
    assert called.exit_code == 2
    assert "Errno" not in called.err
    called = openledger("chain", "check", "--base-path", str(base))
    assert (called.exit_code, "is empty" in called.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--base-path", "/nowhere"), "There is no data of the chain 'dev'"),
        (("--base-path", "/nowhere", "--file", "x"), "not both"),
        (("--base-path", "/nowhere", "--chain", "/nowhere.json"), "cannot be read"),
    ],
)
def test_a_mistake_ends_with_a_sentence(
    tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    called = OpenLedger(NOWHERE, tmp_path)("chain", "check", *words)
    assert called.exit_code == 2
    assert sentence in called.err
