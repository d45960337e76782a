"""Every module has a test at the mirrored path, or an entry in the table that holds."""

from __future__ import annotations

import pytest

from tests.layout import mirror
from tests.layout.mirror import Module


def test_every_module_is_mirrored_or_covered_by_a_test_that_imports_or_reaches_it() -> None:
    assert mirror.problems() == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("ml/engine/lora.py", "tests/ml/engine/test_lora.py"),
        ("ml/durable_file.py", "tests/ml/test_durable_file.py"),
        ("pallets/jobs/__init__.py", "tests/pallets/test_jobs.py"),
        ("ml/__init__.py", "tests/test_ml.py"),
    ],
)
def test_the_mirror_of_a_module_has_its_path(path: str, expected: str) -> None:
    assert Module(path, mirror.dotted_name(path)).mirror == expected


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({}, "ml/engine/batch.py has no tests/ml/engine/test_batch.py"),
        ({"ml/engine/gone.py": ("tests/ml/engine/test_builtin.py",)}, "which is gone"),
        ({"ml/engine/lora.py": ("tests/ml/engine/test_builtin.py",)}, "test_lora.py mirrors"),
        ({"ml/engine/batch.py": ()}, "ml/engine/batch.py names no test file"),
        ({"ml/engine/batch.py": ("tests/ml/engine/test_gone.py",)}, "does not exist"),
        ({"ml/engine/batch.py": ("tests/ml/engine/test_builtin.py",)}, "does not import it"),
    ],
)
def test_a_wrong_table_is_refused(
    monkeypatch: pytest.MonkeyPatch, entries: dict[str, tuple[str, ...]], sentence: str
) -> None:
    monkeypatch.setattr(mirror, "COVERED_BY", entries)
    monkeypatch.setattr(mirror, "REACHED_BY", {})
    assert any(sentence in problem for problem in mirror.problems())


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({"ml/engine/batch.py": ("tests/ml/rows/test_row.py",)}, "never reaches it"),
        ({"ml/engine/interface.py": ("tests/ml/engine/test_builtin.py",)}, "is the table of"),
        ({"ml/engine/interface.py": ()}, "ml/engine/interface.py has 2 entries"),
    ],
)
def test_a_wrong_reason_is_refused(
    monkeypatch: pytest.MonkeyPatch, entries: dict[str, tuple[str, ...]], sentence: str
) -> None:
    monkeypatch.setattr(mirror, "REACHED_BY", {"A reason.": entries})
    assert any(sentence in problem for problem in mirror.problems())


@pytest.mark.parametrize(
    ("test", "name", "is_reached"),
    [
        ("tests/ml/engine/test_builtin.py", "ml.engine.builtin", True),
        ("tests/ml/engine/test_builtin.py", "ml.engine.batch", True),
        ("tests/ml/engine/test_transcript.py", "ml.engine.batch", False),
        ("tests/ml/jobs/test_executor.py", "ml.jobs.__main__", True),
        ("tests/ml/rows/test_row.py", "runtime.types.primitives", False),
    ],
)
def test_a_test_reaches_what_it_imports_starts_or_what_the_room_loads(
    test: str, name: str, is_reached: bool
) -> None:
    path = mirror.file_of(name)
    assert path is not None
    assert mirror.reaches(test, Module(path, name)) == is_reached
