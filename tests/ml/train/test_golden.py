from __future__ import annotations

import subprocess
import sys

from tests.conftest import REPOSITORY

CODE = (
    "from ml.train.profile import *; apply_profile(native_profile({threads}));"
    "from ml.train.golden import golden_hash; print(golden_hash('cpu').hex())"
)


def golden_of_a_process(threads: int, environment: dict[str, str]) -> str:
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE.format(threads=threads)],
        capture_output=True,
        check=True,
        cwd=REPOSITORY,
        text=True,
        env=environment,
    )
    return finished.stdout.strip()


def test_processes_of_one_profile_agree_whatever_surrounds_them() -> None:
    first = golden_of_a_process(1, {})
    assert first == golden_of_a_process(1, {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "SSE4_2"})
    assert len(first) == 64
