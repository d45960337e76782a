from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ml.jobs.limits import WorkFolder
from tests.conftest import REPOSITORY

PREPARE = """
import os, socket, subprocess, pickle, resource, sys
from pathlib import Path
from ml.jobs.limits import *
os.environ["SECRET_KEY"] = "s"
clean_environment()
limit_resources(2048)
work = WorkFolder()
work.path = Path(os.path.realpath(sys.argv[1]))
seal_process(work)
"""


def attempt(folder: Path, code: str) -> str:
    """Run code in a sealed process; return 'done' or the name of the error."""
    refused = "except BaseException as error:\n    print(type(error).__name__)"
    wrapped = f"try:\n    {code}\n    print('done')\n{refused}"
    finished = subprocess.run(
        [sys.executable, "-c", PREPARE + wrapped, str(folder)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=True,
    )
    return finished.stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "socket.create_connection(('127.0.0.1', 9))",
        "socket.getaddrinfo('example.org', 80)",
        "subprocess.run(['true'])",
        "os.system('true')",
        "os.fork()",
        "pickle.loads(b'cos\\nsystem\\n.')",
        "open('/tmp/openledger-outside', 'w')",
        "open(sys.argv[1] + '/../outside', 'w')",
    ],
)
def test_what_no_job_needs_is_forbidden(tmp_path: Path, code: str) -> None:
    assert attempt(tmp_path, code) == "ForbiddenInExecutorError"


@pytest.mark.parametrize(
    "code",
    [
        "open(sys.argv[1] + '/inside', 'w').close()",
        "open(os.__file__).close()",
        "assert 'SECRET_KEY' not in os.environ",
        "assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)",
    ],
)
def test_what_a_job_needs_is_allowed(tmp_path: Path, code: str) -> None:
    assert attempt(tmp_path, code) == "done"


def test_more_memory_than_the_limit_is_an_error_and_not_a_dead_machine(tmp_path: Path) -> None:
    assert attempt(tmp_path, "bytearray(4 << 30)") == "MemoryError"


def test_without_a_job_nothing_may_be_written() -> None:
    assert not WorkFolder().allows("/tmp/file")


def test_a_job_leaves_the_processor_to_the_node() -> None:
    code = (
        "import os; from ml.jobs.limits import *; lower_priority(); lower_priority(); "
        "print(os.nice(0), os.environ['OMP_WAIT_POLICY'])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert ran.stdout.split() == [str(max(10, os.nice(0))), "PASSIVE"], ran.stderr
