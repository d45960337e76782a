"""Answers that are recorded, and replayed without a node."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.client import Client, RequestRefusedError
from node.client.recording import Recording
from tests.node.client.support.transfers import BOB
from tests.node.support.live_node import LiveNode


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
