"""A file with a password is for its owner alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from node.keys.password_file import is_open_to_others, open_to_others


@pytest.mark.parametrize(("mode", "is_open"), [(0o600, False), (0o640, True), (0o604, True)])
def test_the_mode_of_a_file_says_whether_others_may_read_it(
    tmp_path: Path, mode: int, is_open: bool
) -> None:
    file = tmp_path / "password"
    file.write_text("word")
    file.chmod(mode)
    assert is_open_to_others(file) is is_open


def test_a_pipe_or_no_file_at_all_is_not_warned_of(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o644)
    assert not is_open_to_others(pipe)
    assert not is_open_to_others(tmp_path / "nothing")


def test_the_warning_says_what_to_do(tmp_path: Path) -> None:
    assert f"chmod 600 {tmp_path}" in open_to_others(tmp_path)
