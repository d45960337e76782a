"""Places of jobs: what they cost when the chain is more than half full; settlements have others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pallets.balances import HoldReason
from pallets.jobs import Jobs
from pallets.jobs.lifecycle import UNFINISHED_MAX
from runtime.shared.documents import Settle
from runtime.types.primitives import OPEN, ZERO_HASH
from tests.pallets.support.ledger import ALICE, BOB
from tests.pallets.support.workshop import Workshop

PLACES = 16
SPEC = Settle(
    model=0,
    server=BOB,
    epoch=0,
    receipts_root=ZERO_HASH,
    receipts=1,
    fees_planck=1,
    pool_planck=1,
    bound_milli=0,
    draws=1,
    text_blocks=50,
)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    """Give a chain of 16 places without executors."""
    monkeypatch.setattr("pallets.jobs.submission.UNFINISHED_MAX", PLACES)
    with Workshop(0, open_jobs_per_account=100) as workshop:
        yield workshop


def test_a_place_is_free_until_the_chain_is_half_full_and_then_doubles(narrow: Workshop) -> None:
    issued, paid = narrow.balances.total_issuance.get(), []
    for _ in range(PLACES):
        paid.append(narrow.jobs.place_fee())
        narrow.submit()
    assert paid == [0] * 8 + [OPEN // 10 << step for step in range(8)]
    assert narrow.balances.total_issuance.get() == issued - sum(paid), "fees for places are burned"
    assert [event.fee for event in narrow.events(Jobs.PlacePaid)] == paid[8:]
    with pytest.raises(Jobs.ChainFull):
        narrow.submit()


def test_who_cancels_does_not_get_the_fee_for_the_place_back(narrow: Workshop) -> None:
    for _ in range(PLACES // 2):
        narrow.submit()
    free = narrow.balances.free(ALICE)
    job = narrow.submit()
    narrow.sign(ALICE, "Jobs", "cancel", job=job)
    assert narrow.balances.free(ALICE) == free - OPEN // 10


def test_accounts_cannot_fill_the_job_table_for_41_open(workshop: Workshop) -> None:
    """64 accounts with 16 jobs each once did."""
    cost = 0
    for number in range(UNFINISHED_MAX):
        workshop.jobs.unfinished.put(number)
        cost += workshop.jobs.place_fee()
    workshop.jobs.unfinished.put(0)
    assert cost > 1_600 * OPEN


def test_submitted_jobs_and_settlements_keep_each_other_from_nothing(
    narrow: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(PLACES):
        narrow.submit()
    monkeypatch.setattr("pallets.jobs.SETTLEMENTS_MAX", 2)
    for _ in range(2):
        narrow.jobs.open(SPEC, BOB, OPEN)
    with pytest.raises(Jobs.ChainFull):
        narrow.jobs.open(SPEC, BOB, OPEN)
    assert narrow.jobs.unfinished.get() == PLACES
    assert narrow.jobs.unfinished_of.get(BOB) == 0, "who settles may submit as many jobs as others"
    assert narrow.balances.held(HoldReason.JobEscrow, BOB) == 2 * OPEN
    narrow.next_block()
