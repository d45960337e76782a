"""A validator that votes twice is convicted on chain, with the evidence, and loses stake."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from genesis.devnet import validator_uri
from node.client import Client
from node.devnet import member
from node.devnet.ledger import Ledger
from runtime.crypto.keys import Keypair
from runtime.shared.finality import conflict
from runtime.types.primitives import AccountId
from tests.cluster.conftest import FAST, Devnet

EQUIVOCATOR: Final = Path(__file__).parent / "support" / "equivocator.py"
LIMIT_SECONDS: Final = 60.0
OFFENDER: Final = 3


def test_a_validator_that_votes_twice_is_slashed_on_chain(
    devnet: Devnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = devnet(4, replace(FAST, epoch_blocks=10))
    offender = AccountId(Keypair.from_uri(validator_uri(OFFENDER)).account)
    with cluster.client(0) as client:
        before = client.header().number
        cluster.stop(OFFENDER)
        monkeypatch.setattr(member, "PROGRAM", (sys.executable, str(EQUIVOCATOR)))
        cluster.start(OFFENDER)
        convicted = _wait_for(client, "Convicted", before)
        assert convicted.stash == offender
        assert conflict(convicted.first, convicted.second)
        assert client.query("Staking", "tombstones", offender), "it is never elected again"
        slashed = _wait_for(client, "SlashApplied", before)
        print(f"slashed {slashed.burned / 10**18:,.2f} OPEN of {validator_uri(OFFENDER)}")
        assert slashed.stash == offender
        assert slashed.burned > 0
        in_set = client.query("Session", "authorities").authorities
        assert offender not in [authority.account for authority in in_set]
    Ledger(cluster).assert_one_chain()


def _wait_for(client: Client, name: str, number: int) -> Any:
    """Return the first event of Offences with this name in final blocks after a height."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        final = client.header(client.finalized_hash()).number
        while number < final:
            number += 1
            for record in client.events(number):
                if type(record.event).__qualname__ == f"Offences.{name}":
                    return record.event
        time.sleep(0.2)
    raise AssertionError(f"no {name} within {LIMIT_SECONDS:.0f} s")
