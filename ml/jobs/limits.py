"""The limits of the executor process, set before it reads its first job.

Resource limits bound memory, file size and core dumps in the kernel. The audit hook refuses
network, child processes and writing outside the work folder; it is a second defence against
mistakes and hostile files inside Python, not a kernel sandbox: run the process in a container or as
a user of its own for that. Environment variables that are not needed are removed, so that no secret
of the node is in the process.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import Final

ADDRESS_SPACE_MIB: Final = 24_576
FILE_BYTES_MAX: Final = 4 << 30
OPEN_FILES_MAX: Final = 512
NICENESS: Final = 10

KEPT_VARIABLES: Final = frozenset(
    {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV"}
)
KEPT_PREFIXES: Final = ("PYTHON", "OMP_", "MKL_", "ATEN_", "ONEDNN_", "CUBLAS_", "CUDA_", "NVIDIA_")
OFFLINE_VARIABLES: Final = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
REFUSED_EVENTS: Final = frozenset(
    {
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "pickle.find_class",
        "socket.bind",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.sendto",
        "subprocess.Popen",
        "urllib.Request",
    }
)
WRITE_FLAGS: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class ForbiddenInExecutorError(Exception):
    """Code in the executor attempted an operation that no job needs."""


class WorkFolder:
    """The only writable folder; it changes with each job."""

    def __init__(self) -> None:
        """Start without a folder: no file is writable."""
        self.path: Path | None = None

    def allows(self, target: str) -> bool:
        """Return whether a file may be opened for writing."""
        if target == os.devnull:
            return True
        return self.path is not None and Path(os.path.realpath(target)).is_relative_to(self.path)


def clean_environment() -> None:
    """Remove every variable that is not needed and forbid downloads."""
    for name in list(os.environ):
        if name not in KEPT_VARIABLES and not name.startswith(KEPT_PREFIXES):
            del os.environ[name]
    os.environ.update(OFFLINE_VARIABLES)


def lower_priority() -> None:
    """Raise the niceness, so that consensus of the node gets its processor time during a job.

    Threads that wait for each other sleep instead of spinning, since other processes need the core.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # The difference and not NICENESS: os.nice adds, and a node may be niced already.
    os.nice(max(0, NICENESS - os.nice(0)))


def limit_resources(address_space_mib: int) -> None:
    """Set the kernel's limits; an address space of 0 sets none, as CUDA needs."""
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: FILE_BYTES_MAX,
        resource.RLIMIT_NOFILE: OPEN_FILES_MAX,
    }
    if address_space_mib:
        limits[resource.RLIMIT_AS] = address_space_mib << 20
    for kind, limit in limits.items():
        _, hard = resource.getrlimit(kind)
        # A process without privileges may lower its hard limit but never raise it.
        ceiling = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (ceiling, ceiling))


def seal_process(work: WorkFolder) -> None:
    """Refuse network, processes and foreign files from now on, for the life of the process."""

    def refuse(event: str, arguments: tuple[object, ...]) -> None:
        if event in REFUSED_EVENTS:
            raise ForbiddenInExecutorError(
                f"The executor may not do {event}; jobs need files only."
            )
        if event == "open" and _opens_for_writing(arguments) and not work.allows(str(arguments[0])):
            raise ForbiddenInExecutorError(
                f"The executor may not write {arguments[0]}; jobs write into their work folder."
            )

    # An audit hook and not patched functions: it sees every caller, and no code can remove it.
    sys.addaudithook(refuse)


def _opens_for_writing(arguments: tuple[object, ...]) -> bool:
    path, _, flags = arguments
    return isinstance(path, str) and isinstance(flags, int) and bool(flags & WRITE_FLAGS)
