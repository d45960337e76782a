"""Files to and from a node."""

from __future__ import annotations

import pytest

from node.client import Client, RequestRefusedError
from runtime.trie.merkle import CHUNK_SIZE, blob_id
from runtime.types.primitives import Hash
from tests.node.support.live_node import LiveNode


def test_a_file_goes_up_and_comes_back(client: Client) -> None:
    data = b"\x07" * (2 * CHUNK_SIZE + 5)
    seen: list[tuple[int, int]] = []
    blob = client.blobs.upload(data, lambda done, size: seen.append((done, size)))
    assert blob == blob_id(data)
    assert seen[-1] == (len(data), len(data))
    assert client.blobs.download(blob) == data
    assert client.blobs.state(Hash(bytes(32))) is None


def test_an_upload_goes_on_where_it_stopped(client: Client, node: LiveNode) -> None:
    data = bytes(3 * CHUNK_SIZE) + client.endpoint.http_url.encode() + repr(client).encode()

    class Stopped(Exception):
        pass

    def stop(done: int, size: int) -> None:
        if done >= CHUNK_SIZE:
            raise Stopped

    with pytest.raises(Stopped):
        client.blobs.upload(data, stop)
    state = client.blobs.state(blob_id(data))
    assert state is not None
    assert 0 < len(state.missing) < 4
    seen: list[int] = []
    client.blobs.upload(data, lambda done, _: seen.append(done))
    assert seen[0] > 0
    assert client.blobs.download(blob_id(data)) == data


def test_a_file_that_is_not_there_is_named(client: Client) -> None:
    with pytest.raises(RequestRefusedError, match="does not have the file"):
        client.blobs.download(Hash(b"\x01" * 32))
