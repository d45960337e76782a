"""Unmodified clients of others against a real development node."""

from __future__ import annotations

import os
import random
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from node.demo.node_process import NodeProcess

RUN_SECONDS = 420
ABRUPT_CLOSES = 200
LINGER_NONE = struct.pack("ii", 1, 0)
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
BEGINNINGS = (
    b"",
    b"GET / HTTP/1.1\r\nHost: x\r\n",
    UPGRADE,
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{",
    b"\x16\x03\x01garbage",
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path_factory.mktemp("node"), "--no-executor") as running:
        yield running


def run_clients(shared: Path, node: NodeProcess) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shared / "acceptance" / "run", node.url],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
        env=os.environ.copy(),
    )


@pytest.mark.skipif(shutil.which("npm") is None, reason="Node.js and npm are not installed")
def test_unmodified_substrate_clients_pass_for_both_key_types(
    shared: Path, node: NodeProcess
) -> None:
    done = run_clients(shared, node)

    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(line.startswith("ok ") for line in done.stdout.splitlines()) == 4


def test_a_node_is_healthy_after_two_hundred_abruptly_closed_connections(node: NodeProcess) -> None:
    source = random.Random(20260101)
    port = urlsplit(node.url).port
    for _ in range(ABRUPT_CLOSES):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(source.choice(BEGINNINGS))
        if source.random() < 0.5:
            connection.sendall(b"\x81\xfe\x00\x10" + bytes(8))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
        connection.close()

    assert httpx.get(f"{node.http_url}/health").json()["status"] == "ok"
