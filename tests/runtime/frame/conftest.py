"""Fixtures of the tests of blocks."""

from __future__ import annotations

import pytest

from tests.runtime.support.blocks import Blocks


@pytest.fixture
def blocks() -> Blocks:
    """Give the development chain at its genesis."""
    return Blocks()
