from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from ml.train.profile import (
    ProfileMismatchError,
    ProfileTooLateError,
    apply_profile,
    native_profile,
)
from tests.conftest import REPOSITORY


def test_equal_profiles_have_equal_ids_and_others_do_not() -> None:
    profile = native_profile(2)
    assert profile.id == native_profile(2).id
    others = [
        native_profile(1),
        native_profile(2, "cuda"),
        replace(profile, dtype="bfloat16"),
        replace(profile, environment=profile.environment[1:]),
        replace(profile, versions=profile.versions[1:]),
    ]
    assert len({profile.id, *(other.id for other in others)}) == 6


def test_other_libraries_are_a_mismatch() -> None:
    profile = native_profile(1)
    other = replace(profile, versions=(*profile.versions[:-1], ("transformers", "0.1")))
    with pytest.raises(ProfileMismatchError, match="transformers"):
        apply_profile(other)


def test_a_profile_comes_before_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    with pytest.raises(ProfileTooLateError, match="ATEN_CPU_CAPABILITY"):
        apply_profile(native_profile(1))


def test_an_applied_profile_sets_threads_and_kernels() -> None:
    code = (
        "import sys; from ml.train.profile import *;"
        "assert 'torch' not in sys.modules; apply_profile(native_profile(1)); import torch;"
        "print(torch.get_num_threads(), torch.backends.cpu.get_cpu_capability(),"
        "torch.are_deterministic_algorithms_enabled())"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        cwd=REPOSITORY,
        text=True,
        env={},
    )
    threads, capability, deterministic = finished.stdout.split()
    assert threads == "1"
    assert capability != "AVX512"
    assert deterministic == "True"
