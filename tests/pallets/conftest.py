"""Fixtures of the pallets' tests; the composed runtime itself is in `ledger.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pallets.support.ledger import Ledger


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """Give all pallets of the chain, composed at block 1 with funded accounts."""
    with Ledger() as composed:
        yield composed
        composed.check()
