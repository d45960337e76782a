"""`openledger dev`: the states that it keeps, and the settings that come from its environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli import root
from node.client import Client
from node.operations.config import STATE_PRUNING_MIN
from runtime.crypto.keys import Keypair
from tests.node.commands.support.calling import OpenLedger
from tests.node.commands.support.processes import running

ALICE = Keypair.from_uri("//Alice")


@contextmanager
def aged_node(folder: Path, *words: str) -> Iterator[OpenLedger]:
    """Run a node that has made more blocks than the smallest number whose states are kept."""
    quiet = ("--port", "0", "--no-executor", "--no-serve")
    with running("dev", *quiet, *words) as process:
        url = process.document["url"]
        with Client(url) as client:
            for nonce in range(STATE_PRUNING_MIN + 2):
                call = client.make_call("System", "remark", remark=b"")
                client.submit(client.sign(call, ALICE, nonce=nonce))
        yield OpenLedger(url, folder / "keys")


def test_a_state_beyond_the_pruning_depth_is_gone_and_the_block_is_shown_without_events(
    tmp_path: Path,
) -> None:
    with aged_node(tmp_path, "--state-pruning", str(STATE_PRUNING_MIN)) as openledger:
        called = openledger("chain", "block", "1", "--json")
        assert called.exit_code == 0, called.err
        block: Any = called.document
        assert block["is_state_pruned"]
        assert [extrinsic["call"] for extrinsic in block["extrinsics"]][-1] == "System.remark"
        assert block["events"] == []
        assert "--archive" in called.err
        best = openledger.json("chain", "block")
        assert not best["is_state_pruned"]
        assert best["events"]


def test_an_archive_keeps_the_state_of_every_block(tmp_path: Path) -> None:
    with aged_node(tmp_path, "--archive") as openledger:
        block = openledger.json("chain", "block", "1")
        assert not block["is_state_pruned"]
        assert block["events"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--state-pruning", "1"), "state_pruning is 16 to"),
        (("--archive", "--state-pruning", "1000"), "prunes no state"),
    ],
)
def test_a_depth_that_cannot_be_kept_is_refused(
    tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    called = OpenLedger("ws://127.0.0.1:1", tmp_path)("dev", "--port", "0", *words)
    assert called.exit_code == 2
    assert sentence in called.err


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (["--log-level", "loud"], {}),
        ([], {"OPENLEDGER_LOG_LEVEL": "loud"}),
        (["--log-level", "loud"], {"OPENLEDGER_LOG_LEVEL": "debug"}),
    ],
)
def test_the_log_level_is_that_of_the_option_then_of_the_environment(
    words: list[str], environment: dict[str, str]
) -> None:
    result = CliRunner().invoke(root, ["dev", "--port", "0", *words], env=environment)
    assert result.exit_code == 2, result.output
    assert "'loud' is no log level" in result.stderr
