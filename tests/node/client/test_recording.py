"""Recordings: a replay gives what was recorded and asks no node."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.client.errors import RequestRefusedError
from node.client.recording import Recording


def refuse_to_fetch() -> bytes:
    raise AssertionError("a replay asks no node")


def test_a_recorded_response_is_replayed_without_a_node(tmp_path: Path) -> None:
    folder = tmp_path / "recording"
    assert Recording(folder, is_replaying=False).response("a", lambda: b"answer") == b"answer"
    assert Recording(folder, is_replaying=True).response("a", refuse_to_fetch) == b"answer"


def test_a_later_response_replaces_the_recorded_one(tmp_path: Path) -> None:
    recording = Recording(tmp_path, is_replaying=False)
    recording.response("a", lambda: b"first")
    recording.response("a", lambda: b"second")
    assert Recording(tmp_path, is_replaying=True).response("a", refuse_to_fetch) == b"second"


def test_a_request_that_was_not_recorded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestRefusedError, match="does not hold the answer to b"):
        Recording(tmp_path, is_replaying=True).response("b", refuse_to_fetch)
