#!/usr/bin/env python3
"""The project's commands, for a machine with only Python and git.

    python3 make.py demo      the whole story on real rows, two to four minutes
    python3 make.py test      the tests, on all cores
    python3 make.py check     formatting, lint, types, import floors, then the tests
    python3 make.py bench     the benchmark table

Each makes the environment `.venv` from the pinned constraints first, and again when they or the
Python change; `bench` adds the packages that it compares with. The Python is the one that runs this
file, 3.11, 3.12 or 3.13; OPENLEDGER_VENV names another folder for its environment.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess
import sys
import venv

ROOT = pathlib.Path(__file__).resolve().parent
ENVIRONMENT = pathlib.Path(os.environ.get("OPENLEDGER_VENV", ROOT / ".venv"))
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
STAMP = ENVIRONMENT / "installed"
OLDEST, NEWEST = (3, 11), (3, 13)
"""The Pythons that all the packages in constraints.txt are made for."""
CHECKS = (
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    ("mypy",),
    ("lint-imports",),
)


def run(*command: str | pathlib.Path) -> None:
    """Run a command of the environment; end with its exit status when it fails."""
    print("+", *command, flush=True)
    program = BIN / command[0]
    status = subprocess.run([program, *command[1:]], cwd=ROOT, check=False).returncode
    if status:
        raise SystemExit(status)


def check_python(version: tuple[int, int]) -> None:
    """Refuse a Python that the pinned packages have no wheels for, and say what to do."""
    if OLDEST <= version <= NEWEST:
        return
    if version < OLDEST:
        reason = "is too old for this project"
    else:
        reason = "is too new: coincurve, which libp2p needs, has no wheels for it yet"
    raise SystemExit(
        f"Python {version[0]}.{version[1]} {reason}. Python 3.11, 3.12 or 3.13 is needed: install "
        "one beside it and name it, for example `python3.13 make.py test`."
    )


def install(extra: str) -> None:
    """Make the environment where it is absent, lacks the extra, or is older than the project."""
    digest = hashlib.sha256(
        (ROOT / "pyproject.toml").read_bytes() + (ROOT / "constraints.txt").read_bytes()
    ).hexdigest()
    python = "-python" + ".".join(map(str, sys.version_info[:2]))
    wanted = digest + python
    known = STAMP.read_text().split() if STAMP.exists() else []
    extras = sorted({extra, *(known[1:] if known[:1] == [wanted] else ())})
    if known == [wanted, *extras]:
        return
    print(f"Making the environment {ENVIRONMENT} (once, a few minutes) ...", flush=True)
    # Packages of another Python would stay beside the new ones, and its programs would run.
    venv.create(ENVIRONMENT, with_pip=True, clear=bool(known) and not known[0].endswith(python))
    pip = ("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--constraint", "constraints.txt", "--editable", f".[{','.join(extras)}]")
    STAMP.write_text(" ".join([wanted, *extras]))


def main(arguments: list[str]) -> None:
    """Run one of the commands above; further arguments go to the tool behind it."""
    check_python(sys.version_info[:2])
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command not in ("demo", "test", "check", "bench", "install"):
        raise SystemExit(__doc__)
    install("bench" if command == "bench" else "dev")
    if command == "demo":
        run("openledger", "demo", *rest)
    elif command == "bench":
        run("python", "-m", "benchmarks", *rest)
    elif command == "check":
        for check in CHECKS:
            run(*check)
    if command in ("test", "check"):
        # A file's tests stay in one process: they share nodes and devnets.
        run("python", "-m", "pytest", "--numprocesses", "auto", "--dist", "loadfile", *rest)


if __name__ == "__main__":
    main(sys.argv[1:])
