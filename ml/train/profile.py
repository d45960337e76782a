"""The execution profile: everything outside the recipe that can change a bit of the result.

Two executors of one profile must compute the same bits; the differences between machines
(instruction set, BLAS mode, attention kernel, thread count, library versions) are therefore named,
encoded and hashed. torch reads the variables when it loads its kernels, so `apply_profile` comes
before the first import of torch.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from types import MappingProxyType
from typing import Final

import msgpack

PROFILE_CONTEXT: Final = b"openledger/profile"
THREADS_MAX: Final = 64
LIBRARIES: Final = ("numpy", "peft", "safetensors", "tokenizers", "torch", "transformers")
THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")

# The common subset of current x86 processors: AVX2 everywhere, so that a newer machine agrees with
# an older one; AVX-512 sums in wider vectors, hence in another order. On other processors the
# variables have no effect and the device class distinguishes them.
NATIVE_ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_CBWR": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "NVIDIA_TF32_OVERRIDE": "0",
    }
)


class ProfileTooLateError(Exception):
    """torch was loaded with other values of the environment variables."""


class ProfileMismatchError(Exception):
    """This machine cannot run the profile: other libraries or another device class."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The settings that decide every bit; `environment` and `versions` are sorted pairs."""

    family: str
    device_class: str
    dtype: str
    attention: str
    threads: int
    environment: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]

    @property
    def device(self) -> str:
        """Return the torch device of the device class."""
        return self.device_class.partition("-")[0]

    @property
    def id(self) -> bytes:
        """Return blake2b-256 of the canonical encoding: a msgpack array of the fields in order."""
        fields = [
            self.family,
            self.device_class,
            self.dtype,
            self.attention,
            self.threads,
            [list(pair) for pair in self.environment],
            [list(pair) for pair in self.versions],
        ]
        packed: bytes = msgpack.packb(fields, use_bin_type=True)
        return hashlib.blake2b(PROFILE_CONTEXT + packed, digest_size=32).digest()


def native_profile(threads: int, device: str = "cpu") -> Profile:
    """Return the profile of this machine's libraries: float32, math attention, fixed threads."""
    assert 1 <= threads <= THREADS_MAX
    return Profile(
        family="native",
        device_class=f"{device}-{os.uname().machine}",
        dtype="float32",
        attention="math",
        threads=threads,
        environment=tuple(sorted(NATIVE_ENVIRONMENT.items())),
        versions=tuple((name, version(name)) for name in LIBRARIES),
    )


def apply_profile(profile: Profile) -> None:
    """Set this process up for the profile.

    Raises ProfileMismatchError, ProfileTooLateError.
    """
    installed = tuple((name, version(name)) for name in LIBRARIES)
    if installed != profile.versions:
        odd = sorted({name for name, _ in set(installed) ^ set(profile.versions)})
        raise ProfileMismatchError(
            f"The profile needs other versions of {', '.join(odd)}; install those or register "
            "another profile."
        )
    wanted = dict(profile.environment)
    wanted.update(dict.fromkeys(THREAD_VARIABLES, str(profile.threads)))
    odd = sorted(name for name, value in wanted.items() if os.environ.get(name) != value)
    # Refused and not set anyway: torch has read them, so they would describe what does not happen.
    if odd and "torch" in sys.modules:
        raise ProfileTooLateError(
            f"torch was loaded before {', '.join(odd)} were set; "
            "apply the profile in a new process."
        )
    os.environ.update(wanted)
    configure_torch(profile)


def configure_torch(profile: Profile) -> None:
    """Load torch and apply the settings that are calls and not variables."""
    import torch

    # The thread count decides how a sum is split, so it belongs to the profile: a machine with more
    # cores must not use them.
    torch.set_num_threads(profile.threads)
    # An operation without a deterministic kernel raises, instead of differing in silence.
    torch.use_deterministic_algorithms(True)
    # TF32 drops 13 bits of each factor, differently from one GPU generation to the next.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    # The benchmark mode chooses kernels by their time on this machine.
    torch.backends.cudnn.benchmark = False
    if profile.device == "cuda" and not torch.cuda.is_available():
        raise ProfileMismatchError("The profile needs a CUDA device and this machine has none.")
