"""A validator that was chilled for absence reads why, and stands for election again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final
from unittest.mock import patch

import pytest

from genesis.spec import ChainSpec, load_spec
from pallets import compose
from pallets.staking import Staking
from pallets.staking.records import ChilledValidator, ValidatorPrefs
from runtime.crypto.keys import Keypair
from runtime.frame.machine import Machine
from runtime.types.primitives import AccountId
from tests.node.commands.support.calling import OpenLedger
from tests.node.support.live_node import LiveNode, live_node

EPOCH: Final = 3
FIVE_PERCENT: Final = 5 * 10**7
EVE: Final = Keypair.from_uri("//Eve")


def chilled_spec() -> ChainSpec:
    """Return the development chain, in whose genesis //Eve was chilled for absence."""
    raw = load_spec("dev").raw()
    machine: Machine = compose()
    item = machine.pallet(Staking).chilled_validators
    record = machine.codec(ChilledValidator).encode(
        ChilledValidator(EPOCH, ValidatorPrefs(FIVE_PERCENT))
    )
    assert raw.top is not None
    return replace(raw, top={**raw.top, item.key(AccountId(EVE.account)): record})


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    spec = chilled_spec()
    chain = patch("tests.node.support.live_node.load_spec", lambda name: spec)
    with chain, live_node(tmp_path_factory.mktemp("chilled")) as running_node:
        yield running_node


def test_a_chilled_validator_reads_why_and_comes_back_with_its_terms(
    openledger: OpenLedger,
) -> None:
    openledger.json("stake", "bond", "2000OPEN", "--from", "//Eve")
    words = ("stake", "validate", "--from", "//Eve")
    standing = openledger.json("validator", "status", "//Eve")
    assert standing["chilled_epoch"] == EPOCH
    assert f"chilled at epoch {EPOCH} for absence" in standing["sentence"]
    assert "openledger validator unjail" in standing["sentence"]

    unjail = ("validator", "unjail", "--from", "//Eve")
    assert openledger.json(*unjail, "--dry-run")["succeeds"]
    called = openledger(*unjail, "--json")
    assert called.exit_code == 0, called.err
    assert "can vote from epoch" in called.err
    (event,) = [
        event
        for event in called.document["events"]
        if event["event"] == "Staking.ValidatorPrefsSet"
    ]
    assert json.dumps(FIVE_PERCENT) in json.dumps(event["fields"])
    standing = openledger.json("validator", "status", "//Eve")
    assert standing["chilled_epoch"] is None
    assert standing["is_standing"]

    called = openledger(*unjail)
    assert called.exit_code == 2
    assert "not chilled for absence. It stands for election" in called.err
    assert openledger(*words).exit_code == 0


def test_who_never_validated_is_told_where_to_begin(openledger: OpenLedger, tmp_path: Path) -> None:
    called = openledger("validator", "unjail", "--from", "//Bob")
    assert called.exit_code == 2
    assert "openledger validator setup" in called.err
