from __future__ import annotations

import subprocess
import sys

from ml.rows.harvest import REFUSED_MODULES, harvest_standard_library
from ml.rows.row import canonical_row, encode_batch
from tests.conftest import REPOSITORY

SOME = ("bisect", "json", "math", "shutil", "textwrap")


def test_rows_carry_name_signature_and_documentation() -> None:
    rows = {row.prompt: row.completion for row in harvest_standard_library(SOME)["textwrap"]}
    assert rows["textwrap.dedent(text)"].startswith("Remove any common leading whitespace")
    assert any(prompt.startswith("textwrap.TextWrapper.fill(") for prompt in rows)


def test_rows_are_grouped_by_module_in_order_and_canonical() -> None:
    harvest = harvest_standard_library(SOME)
    assert tuple(harvest) == SOME
    for module, rows in harvest.items():
        assert all(row.prompt.startswith(f"{module}.") for row in rows)
        assert all(canonical_row(row) == row for row in rows)


def test_modules_with_side_effects_are_never_harvested() -> None:
    assert {"antigravity", "this", "idlelib", "test", "tkinter", "turtle"} <= REFUSED_MODULES
    assert harvest_standard_library(("antigravity", "this")) == {}


def test_other_processes_harvest_the_same_bytes() -> None:
    code = (
        "import sys; from ml.rows.harvest import *; from ml.rows.row import encode_batch;"
        f"h = harvest_standard_library({SOME});"
        "sys.stdout.buffer.write(encode_batch([r for rows in h.values() for r in rows]))"
    )
    here = [row for rows in harvest_standard_library(SOME).values() for row in rows]
    for seed in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            check=True,
            cwd=REPOSITORY,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        assert there == encode_batch(here)


def test_the_whole_library_gives_thousands_of_rows_and_real_duplicates() -> None:
    code = (
        "from ml.rows.harvest import *; h = harvest_standard_library();"
        "rows = [r for v in h.values() for r in v];"
        "print(len(h), len(rows), len({r.completion for r in rows}))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, cwd=REPOSITORY, text=True
    )
    modules, rows, texts = map(int, finished.stdout.split())
    assert modules > 120
    assert 4_000 < texts < rows < 9_000
