"""js-libp2p, unmodified from npm, and our transport: each dials the other and is understood."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from p2p.transport.libp2p_host import Libp2pTransport
from p2p.transport.transport import TransportSettings
from tests.clients.support.npm import installed
from tests.p2p.support.recorder import TOPIC, NodeUnderTest, running

HERE = Path(__file__).resolve().parent / "js_libp2p"
PATIENCE_SECONDS = 30
ANSWER_BYTES = 100_000
SETTINGS = TransportSettings(topics=frozenset({TOPIC}))


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Path:
    """A folder with the packages, installed once; skips where they cannot be."""
    return installed(request, HERE)


class Lines:
    """What the other program printed, as it comes."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdout is not None
        self._output = process.stdout
        self._text = ""

    async def find(self, start: str) -> str:
        """Wait for a line that begins so, and return the rest of it."""
        with trio.fail_after(PATIENCE_SECONDS):
            while True:
                for line in self._text.split("\n")[:-1]:
                    if line.startswith(start):
                        return line[len(start) :]
                self._text += (await self._output.receive_some()).decode()


@asynccontextmanager
async def other_program(folder: Path, *arguments: str) -> AsyncIterator[Lines]:
    command = ["node", "peer.mjs", TOPIC, *arguments]
    start = partial(
        trio.run_process, command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(start)
        yield Lines(process)
        assert process.stdin is not None
        await process.stdin.aclose()


async def understand(node: NodeUnderTest, lines: Lines) -> None:
    """Gossip both ways, ping, and an answer of 100 kB on a stream of ours."""

    async def answer(_: bytes) -> bytes:
        return bytes(ANSWER_BYTES)

    node.heard.answer_by = answer
    assert await lines.find("connected ") == node.peer
    assert int(await lines.find("ping ")) >= 0
    assert await lines.find("answer ") == f"0 {ANSWER_BYTES}"
    await node.heard.wait_until(
        lambda heard: b"hello from js" in [content for _, _, content in heard.gossip]
    )
    await node.transport.publish(TOPIC, b"hello from python")
    assert await lines.find("heard ") == "hello from python"


@pytest.mark.parametrize("who_dials", ["js", "python"])
def test_js_libp2p_and_our_transport_understand_each_other(folder: Path, who_dials: str) -> None:
    async def scenario() -> None:
        transport = Libp2pTransport(bytes(32), ["/ip4/127.0.0.1/tcp/0"], SETTINGS)
        async with running(transport) as node:
            addresses = [node.address] if who_dials == "js" else []
            async with other_program(folder, *addresses) as lines:
                address = await lines.find("listening ")
                if who_dials == "python":
                    await node.transport.dial(address)
                await understand(node, lines)
                assert node.heard.came[0][2] == (who_dials == "js")

    trio.run(scenario)
