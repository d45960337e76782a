"""Recordings: a replay gives what was recorded and asks no node."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.client import Client, RequestRefusedError
from node.client.recording import Recording
from tests.node.client.support.transfers import BOB
from tests.node.support.live_node import LiveNode


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


def test_recorded_answers_are_asked_again_without_a_node(node: LiveNode, tmp_path: Path) -> None:
    data = b"kept" * 100
    with Client(node.rpc_url) as client:
        client.use_recording(Recording(tmp_path, is_replaying=False))
        blob = client.blobs.upload(data)
        recorded = (client.info(), client.balance(BOB), client.blobs.download(blob))
    with Client("ws://127.0.0.1:1") as client:
        client.use_recording(Recording(tmp_path, is_replaying=True))
        assert (client.info(), client.balance(BOB), client.blobs.download(blob)) == recorded
        with pytest.raises(RequestRefusedError, match="does not hold the answer"):
            client.block(0)
