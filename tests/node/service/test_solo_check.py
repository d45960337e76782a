"""A node makes no blocks alone on a chain that others validate."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from genesis.devnet import devnet_spec
from node.chain.chain import Chain
from node.operations.config import ConfigError, NodeConfig, Sealing
from node.service.solo_check import check_solo_author
from node.storage.database import Database
from runtime.crypto.keys import Keypair


def check(folder: Path, chain_type: str, validators: int, account: str = "//Alice") -> None:
    spec = replace(devnet_spec(validators), chain_type=chain_type)
    with Database.open(folder / "db") as database:
        config = NodeConfig(folder, "spec.json", sealing=Sealing.INSTANT)
        check_solo_author(Chain(spec, database), config, Keypair.from_uri(account).account)


def test_a_chain_of_others_is_not_continued_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="makes final blocks alone"):
        check(tmp_path, "Live", 2)


@pytest.mark.parametrize("chain_type", ["Development", "Local"])
def test_on_a_development_chain_it_is_a_warning(
    tmp_path: Path, chain_type: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        check(tmp_path, chain_type, 2)
    assert "history-is-own" in caplog.text


def test_the_only_validator_may_make_blocks_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check(tmp_path, "Live", 1)
    assert caplog.text == ""
