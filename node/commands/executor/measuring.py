"""The profile of this machine and how fast it is, measured in a process of its own.

The profile fixes variables that torch reads when it is loaded, so the measurement cannot run here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

from ml.train.profile import Profile, native_profile
from node.commands.base.command import refuse
from pallets.jobs.work import WORK_UNIT
from runtime.types.primitives import Hash

MEASURE_SECONDS_MAX: Final = 900
MILLI: Final = 1_000


@dataclass(frozen=True, slots=True)
class Measured:
    """What the measurement said; `golden` proves that two machines compute alike."""

    golden: str
    seconds_per_unit: float

    def blocks_per_unit_milli(self, block_seconds: float) -> int:
        """Return the time for a unit in thousandths of a block, rounded up."""
        return max(1, -int(-self.seconds_per_unit * MILLI // block_seconds))


def profile_of(threads: int, device: str) -> tuple[Hash, Profile]:
    """Return the profile of this machine with its id."""
    profile = native_profile(threads, device)
    return Hash(profile.id), profile


def name_of(profile: Profile) -> str:
    """Return a name for a profile that says what it stands on."""
    versions = dict(profile.versions)
    return f"{profile.family} {profile.device_class} x{profile.threads} torch {versions['torch']}"


def measure(threads: int, device: str, base_model: str) -> Measured:
    """Run a short training with the base; takes some seconds. Raises UsageError."""
    command = [sys.executable, "-W", "ignore", "-m", "ml.train.measure"]
    command += ["--threads", str(threads), "--device", device, "--base", base_model]
    try:
        finished = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=MEASURE_SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        refuse(
            f"Three steps of training took more than {MEASURE_SECONDS_MAX} seconds: the base is "
            "too large for this machine."
        )
    if finished.returncode:
        said = finished.stderr.strip().splitlines()
        refuse(f"The measurement failed: {said[-1] if said else finished.returncode}.")
    found = json.loads(finished.stdout.strip().splitlines()[-1])
    seconds = found["seconds"] * WORK_UNIT / found["parameter_tokens"]
    return Measured(golden=found["golden"], seconds_per_unit=seconds)
