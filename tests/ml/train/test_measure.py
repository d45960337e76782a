"""The measurement of a machine: it counts what it trains on, and names the profile it ran under."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ml.train.measure import ROWS, STEPS, TOKENS
from ml.train.profile import native_profile
from tests.conftest import REPOSITORY


def test_a_measurement_names_its_profile_and_counts_its_work(tiny_folder: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "ml.train.measure"]
    finished = subprocess.run(
        [*command, "--threads", "1", "--base", str(tiny_folder)],
        capture_output=True,
        check=True,
        cwd=REPOSITORY,
        text=True,
    )
    found = json.loads(finished.stdout)
    assert found["profile"] == native_profile(1).id.hex()
    assert len(found["golden"]) == 64
    assert found["parameter_tokens"] % (STEPS * ROWS * TOKENS) == 0
    assert found["seconds"] > 0
