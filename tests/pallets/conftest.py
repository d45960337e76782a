"""Fixtures of the pallets' tests; the composed runtime itself is in `ledger.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pallets.support.ledger import Ledger
from tests.pallets.support.market import Market
from tests.pallets.support.workshop import Workshop


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """Give all pallets of the chain, composed at block 1 with funded accounts."""
    with Ledger() as composed:
        yield composed
        composed.check()


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    """Give a chain with one executor, one for each job."""
    with Workshop() as made:
        yield made
        made.check()


@pytest.fixture
def pair() -> Iterator[Workshop]:
    """Give a chain with four executors, two for each job."""
    with Workshop(4, executors_per_job=2) as made:
        yield made
        made.check()


@pytest.fixture
def shop() -> Iterator[Market]:
    """Give a chain where model 0 may be asked, with channel 0 from Bob to Charlie."""
    with Market() as made:
        made.open()
        yield made
        made.check()
