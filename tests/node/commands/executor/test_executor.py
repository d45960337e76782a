"""Executors from the command line: a profile that root must register, then joining."""

from __future__ import annotations

from typing import Any

import pytest

from ml.base.content import content_hash
from node.commands.executor import executor as command
from node.commands.executor.measuring import Measured, profile_of
from tests.node.commands.support.calling import OpenLedger

BASE = "0x" + content_hash().hex()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure nothing: a training takes long."""
    monkeypatch.setattr(command, "measure", lambda *_: Measured("ab" * 32, 0.25))


def listed(openledger: OpenLedger) -> list[dict[str, Any]]:
    return list(openledger.json("executor", "list")["executors"])


@pytest.mark.usefixtures("quick")
def test_an_executor_joins_when_root_has_registered_its_profile(openledger: OpenLedger) -> None:
    join = ("executor", "register", "--from", "//Bob", "--threads", "3")
    called = openledger(*join)
    assert called.exit_code == 2
    assert "openledger executor profile" in called.err
    assert "openledger tx sudo sudo" in called.err

    document = openledger.json("executor", "profile", "--threads", "3", "--block-seconds", "0.5")
    assert document["id"] == "0x" + profile_of(3, "cpu")[0].hex()
    assert (document["blocks_per_unit_milli"], document["is_registered"]) == (500, False)

    openledger.json("tx", "sudo", "sudo", "--call", document["call"], "--from", "//Alice")
    again = openledger("executor", "profile", "--threads", "3", "--json")
    assert again.document["is_registered"]
    assert "openledger executor register" in again.err
    assert openledger.json(*join, "--dry-run")["succeeds"]
    openledger.json(*join)
    alice, bob = listed(openledger)
    assert alice["profile_name"] == "development"
    assert (bob["profile"], bob["bases"], bob["settled"]) == (document["id"], [BASE], 0)


def test_a_rate_is_rounded_up_to_a_thousandth_of_a_block() -> None:
    assert Measured("", 0.0001).blocks_per_unit_milli(1.0) == 1
    assert Measured("", 1.0001).blocks_per_unit_milli(1.0) == 1_001
    assert Measured("", 2.0).blocks_per_unit_milli(0.5) == 4_000


def test_the_measurement_trains_with_the_base_in_a_process_of_the_profile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from node.commands.executor import measuring

    monkeypatch.setattr(measuring, "MEASURE_SECONDS_MAX", 300)
    measured = measuring.measure(1, "cpu", "")
    assert measured.seconds_per_unit > 0
    assert len(measured.golden) == 64


def test_a_base_that_is_not_there_is_named(openledger: OpenLedger, tmp_path: Any) -> None:
    called = openledger("executor", "profile", "--base-model", str(tmp_path / "none"))
    assert called.exit_code == 2
    assert "none" in called.err
