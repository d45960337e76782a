"""What holds for all tests: Hypothesis profiles, and where outside material lies."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "default",
    deadline=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("default")

REPOSITORY = Path(__file__).resolve().parent.parent
VECTORS = REPOSITORY / "tests" / "vectors"


def pytest_configure(config: pytest.Config) -> None:
    """Keep tensor libraries from starting a thread for each core in every test process."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what takes long unless more than the least is asked for."""
    if int(os.environ.get("OPENLEDGER_SCALE", "1")) > 1:
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="takes long; set OPENLEDGER_SCALE=2"))


@pytest.fixture
def shared() -> Path:
    """The folder with outside clients and vectors; tests that use it skip where it is absent."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the folder with outside clients and vectors is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def scale() -> int:
    """How long simulations run: 1 by default, more by OPENLEDGER_SCALE."""
    return max(1, int(os.environ.get("OPENLEDGER_SCALE", "1")))
