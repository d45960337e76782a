"""What a contributor could take that is not its own: nothing. How many there are hurts nobody."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pallets.attribution import Attribution
from pallets.attribution.records import EpochState
from pallets.datanets import Datanets
from pallets.jobs import Jobs
from runtime.types.primitives import OPEN, AccountId, Hash
from tests.pallets.support.economy import economy
from tests.pallets.support.epochs import (
    POOL,
    claimable,
    earn,
    epoch,
    open_gate,
    proof_of,
    settle,
    shared,
    shares_of,
)
from tests.pallets.support.ledger import ALICE, BOB, CHARLIE
from tests.pallets.support.workshop import BOND, SERVER, Workshop

MANY = 5_000


@pytest.fixture
def chain() -> Iterator[Workshop]:
    with Workshop(2, executors_per_job=2) as chain:
        open_gate(chain)
        earn(chain)
        yield chain
        chain.check()


def claim(chain: Workshop, shares: object, share: object, proof: object) -> None:
    arguments = {"model": 0, "server": SERVER, "epoch": 0, "share": share, "proof": proof}
    chain.sign(ALICE, "Attribution", "claim_share", **arguments)


def test_any_number_of_contributors_settles_and_costs_no_executor_its_bond(
    chain: Workshop,
) -> None:
    crowd = [AccountId(number.to_bytes(32, "big")) for number in range(1, MANY + 1)]
    shares = shares_of(*((who, POOL // MANY) for who in crowd))
    settle(chain, shared(shares))
    assert epoch(chain).state is EpochState.Settled
    assert not chain.events(Jobs.ExecutorSlashed)
    assert {chain.bond(who) for who in chain.jobs.executor_accounts.get()} == {BOND}
    last = len(shares) - 1
    claim(chain, shares, shares[last], proof_of(shares, last))
    assert claimable(chain, shares[last].contributor) == POOL // MANY


def test_a_share_is_credited_once_whoever_asks(chain: Workshop) -> None:
    shares = shares_of((ALICE, 3 * OPEN), (BOB, 2 * OPEN), (CHARLIE, OPEN))
    settle(chain, shared(shares, pushed=1))
    at = next(number for number, share in enumerate(shares) if share.contributor == BOB)
    claim(chain, shares, shares[at], proof_of(shares, at))
    with pytest.raises(Attribution.AlreadyCredited):
        claim(chain, shares, shares[at], proof_of(shares, at))
    assert claimable(chain, BOB) == 2 * OPEN


def test_a_larger_share_or_the_share_of_another_cannot_be_claimed(chain: Workshop) -> None:
    shares = shares_of((ALICE, 3 * OPEN), (BOB, 2 * OPEN), (CHARLIE, OPEN))
    settle(chain, shared(shares, pushed=0))
    greedy = shares_of((BOB, 20 * OPEN))[0]
    stolen = shares_of((CHARLIE, 3 * OPEN))[0]
    for share in (greedy, stolen):
        for at in range(len(shares)):
            with pytest.raises(Attribution.BadProof):
                claim(chain, shares, share, proof_of(shares, at))


def test_rows_that_are_there_already_earn_nobody_a_second_time() -> None:
    with economy() as ledger:
        rows = (Hash(bytes([1]) * 32),)
        batch = {"datanet": 0, "blob": Hash(b"copy".ljust(32, b"\0")), "size_bytes": 9}
        with pytest.raises(Datanets.DuplicateRow):
            ledger.sign(BOB, "Datanets", "contribute", row_hashes=rows, **batch)
