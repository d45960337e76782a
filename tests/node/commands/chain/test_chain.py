from __future__ import annotations

import json
from pathlib import Path

import pytest

from genesis.spec import load_spec
from node.commands.chain.block_file import MAGIC
from tests.node.commands.support.calling import OpenLedger
from tests.node.support.live_node import LiveNode


@pytest.fixture(scope="module")
def blocks(node: LiveNode, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with some blocks of the node."""
    folder = tmp_path_factory.mktemp("blocks")
    openledger = OpenLedger(node.rpc_url, folder / "keys")
    for _ in range(3):
        openledger.json("account", "transfer", "//Bob", "1", "--from", "//Alice")
    file = folder / "chain.blocks"
    openledger.json("chain", "export-blocks", str(file))
    return file


def test_blocks_are_exported_checked_and_imported(
    openledger: OpenLedger, blocks: Path, tmp_path: Path
) -> None:
    checked = openledger.json("chain", "check", "--file", str(blocks))
    words = ("chain", "import-blocks", str(blocks), "--base-path", str(tmp_path))
    imported = openledger.json(*words)
    assert imported["last_hash"] == checked["last_hash"]
    assert imported["blocks"] == checked["blocks"] >= 3
    assert openledger.json(*words)["blocks"] == 0


def test_the_nodes_own_blocks_are_checked(openledger: OpenLedger, blocks: Path) -> None:
    called = openledger("chain", "check")
    assert called.exit_code == 0
    assert "every state root is exact" in called.err


def test_a_changed_block_is_found(openledger: OpenLedger, blocks: Path, tmp_path: Path) -> None:
    data = bytearray(blocks.read_bytes())
    data[-40] ^= 1
    changed = tmp_path / "changed.blocks"
    changed.write_bytes(data)
    called = openledger("chain", "check", "--file", str(changed))
    assert called.exit_code in (1, 2)
    assert called.err.startswith("Error: ")


def test_a_cut_file_is_found(openledger: OpenLedger, blocks: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.blocks"
    cut.write_bytes(blocks.read_bytes()[:-5])
    called = openledger("chain", "import-blocks", str(cut), "--base-path", str(tmp_path))
    assert called.exit_code == 8
    assert "is damaged" in called.err
    assert "Blocks 1 to" in called.err


def test_a_changed_block_is_named_with_its_file_and_what_was_imported(
    openledger: OpenLedger, blocks: Path, tmp_path: Path
) -> None:
    data = bytearray(blocks.read_bytes())
    second = len(MAGIC) + 32
    second += 4 + int.from_bytes(data[second : second + 4], "little")
    data[second + 4] ^= 1  # in the hash of its parent
    changed = tmp_path / "changed.blocks"
    changed.write_bytes(data)
    words = ("chain", "import-blocks", str(changed), "--base-path", str(tmp_path))
    called = openledger(*words)
    assert called.exit_code == 8
    assert f"Block 2 in {changed} is damaged" in called.err
    assert "Export the file again" in called.err
    assert "Blocks 1 to 1 are in" in called.err
    whole = ("chain", "import-blocks", str(blocks), "--base-path", str(tmp_path))
    assert openledger.json(*whole)["blocks"] >= 2


def test_an_export_to_a_block_that_is_not_there_yet_says_where_it_ends(
    openledger: OpenLedger, blocks: Path, tmp_path: Path
) -> None:
    called = openledger("chain", "export-blocks", str(tmp_path / "more"), "--to", "99999999")
    assert called.exit_code == 0
    assert "Block 99,999,999 is not final yet; the file ends with block" in called.err


def test_nothing_is_overwritten(openledger: OpenLedger, blocks: Path) -> None:
    called = openledger("chain", "export-blocks", str(blocks))
    assert called.exit_code == 2
    assert "exists already" in called.err


def test_a_block_shows_its_calls_and_events(openledger: OpenLedger, blocks: Path) -> None:
    document = openledger.json("chain", "block", "1")
    calls = [extrinsic["call"] for extrinsic in document["extrinsics"]]
    assert calls == ["Timestamp.set", "Balances.transfer_keep_alive"]
    assert openledger.json("chain", "block", document["hash"]) == document


def test_data_is_purged_after_a_confirmation(
    openledger: OpenLedger, blocks: Path, tmp_path: Path
) -> None:
    openledger.json("chain", "import-blocks", str(blocks), "--base-path", str(tmp_path))
    words = ("chain", "purge", "--base-path", str(tmp_path))
    called = openledger(*words, typed="n\n")
    assert called.exit_code == 2
    assert "Nothing was done" in called.err
    removed = Path(openledger.json(*words, "--yes")["removed"])
    assert not removed.exists()
    assert openledger(*words, "--yes").exit_code == 2


@pytest.mark.parametrize("form", [(), ("--raw",)])
def test_an_exported_spec_gives_the_same_chain(
    openledger: OpenLedger, tmp_path: Path, form: tuple[str, ...]
) -> None:
    file = tmp_path / "spec.json"
    document = openledger.json("chain", "spec", "export", str(file), *form)
    assert document["genesis_hash"] == "0x" + load_spec("dev").build().hash.hex()
    assert load_spec(str(file)).build().hash == load_spec("dev").build().hash
    assert ("raw" in json.loads(file.read_text())["genesis"]) == bool(form)


@pytest.mark.parametrize(
    ("words", "exit_code", "sentence"),
    [
        (("block", "4000000000"), 2, "no block 4000000000 yet"),
        (("block", "99999999999"), 2, "There is no block"),
        (("block", "0x" + "00" * 32), 2, "does not know this block"),
        (("block", "x"), 2, "is no hash"),
        (("info", "--url", "ws://127.0.0.1:1"), 3, "No node answers"),
        (("check", "--chain", "/nowhere.json"), 2, "cannot be read"),
        (("check", "--file", "/nowhere"), 2, "No such file"),
        (("import-blocks", "/nowhere"), 2, "No such file"),
        (("purge", "--chain", "nothing"), 2, "cannot be read"),
        (("spec", "export", "/nowhere/x.json"), 2, "No such file"),
    ],
)
def test_a_mistake_ends_with_a_sentence(
    openledger: OpenLedger, words: tuple[str, ...], exit_code: int, sentence: str
) -> None:
    called = openledger("chain", *words)
    assert called.exit_code == exit_code
    assert sentence in called.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_completion_script(openledger: OpenLedger, shell: str) -> None:
    called = openledger("completion", shell)
    assert called.exit_code == 0
    assert "_OPENLEDGER_COMPLETE" in called.out
