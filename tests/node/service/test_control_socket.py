from __future__ import annotations

import json
import stat
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from node.devnet.control_client import ControlClient
from node.devnet.errors import ControlError
from node.service.control_socket import (
    CONNECTIONS_MAX,
    LINE_BYTES_MAX,
    PEERS_MAX,
    SOCKET_NAME,
    ControlRefusedError,
    serve_control,
)


class Recorded:
    """Something controlled that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def block(self, peers: Sequence[str], /) -> None:
        self.told.append(("block", list(peers)))

    def unblock(self) -> None:
        self.told.append(("unblock",))

    def set_latency_ms(self, latency_ms: int, /) -> None:
        self.told.append(("latency", latency_ms))

    def propose_immediately(self, until: int, /) -> None:
        self.told.append(("propose_immediately", until))

    def state(self) -> Mapping[str, object]:
        return {"blocked": ["x"], "latency_ms": 3}


@asynccontextmanager
async def controlled(folder: Path) -> AsyncIterator[tuple[Path, Recorded]]:
    recorded = Recorded()
    async with trio.open_nursery() as nursery:
        path = await nursery.start(partial(serve_control, folder, "Local", recorded))
        yield path, recorded
        nursery.cancel_scope.cancel()


async def ask(path: Path, line: bytes) -> dict[str, Any]:
    async with await trio.open_unix_socket(str(path)) as stream:
        await stream.send_all(line)
        answer: dict[str, Any] = json.loads(await stream.receive_some())
        return answer


def test_every_request_of_the_client_reaches_the_node(tmp_path: Path) -> None:
    async def main() -> list[tuple[object, ...]]:
        async with controlled(tmp_path) as (path, recorded):
            client = ControlClient(path)
            await trio.to_thread.run_sync(client.block, ["a", "b"])
            await trio.to_thread.run_sync(client.unblock)
            await trio.to_thread.run_sync(client.set_latency_ms, 25)
            await trio.to_thread.run_sync(client.propose_immediately, 300)
            assert await trio.to_thread.run_sync(client.state) == {
                "blocked": ["x"],
                "latency_ms": 3,
            }
            return recorded.told

    assert trio.run(main) == [
        ("block", ["a", "b"]),
        ("unblock",),
        ("latency", 25),
        ("propose_immediately", 300),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"garbage", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 5_000, "no JSON"),
        (b"[]", "object"),
        (b"{}", "no such request"),
        (b'{"do": "stop"}', "no such request"),
        (b'{"do": "unblock", "more": 1}', "no such request"),
        (b'{"do": "block", "peers": [1]}', "peer ids"),
        (b'{"do": "block", "peers": "abc"}', "no such request"),
        (b'{"do": "latency", "ms": -1}', "whole number"),
        (b'{"do": "latency", "ms": 1.5}', "whole number"),
        (b'{"do": "latency", "ms": 60001}', "whole number"),
        (b'{"do": "propose_immediately", "until": true}', "whole number"),
    ],
)
def test_a_line_that_is_no_request_is_refused_with_the_reason(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    async def main() -> None:
        async with controlled(tmp_path) as (path, recorded):
            answer = await ask(path, line + b"\n")
            assert answer["ok"] is False
            assert reason in answer["error"]
            assert recorded.told == []

    trio.run(main)


def test_too_many_peers_are_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with controlled(tmp_path) as (path, _):
            line = json.dumps({"do": "block", "peers": ["p"] * (PEERS_MAX + 1)})
            assert not (await ask(path, line.encode() + b"\n"))["ok"]

    trio.run(main)


def test_lines_may_come_in_pieces_and_together(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            controlled(tmp_path) as (path, recorded),
            await trio.open_unix_socket(str(path)) as stream,
        ):
            await stream.send_all(b'{"do": "unblo')
            await stream.send_all(b'ck"}\n{"do": "latency", "ms": 1}\n')
            received = b""
            while received.count(b"\n") < 2:
                received += await stream.receive_some()
            assert recorded.told == [("unblock",), ("latency", 1)]

    trio.run(main)


def test_a_line_without_an_end_closes_the_connection(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            controlled(tmp_path) as (path, _),
            await trio.open_unix_socket(str(path)) as stream,
        ):
            with trio.fail_after(10):
                try:
                    await stream.send_all(b"x" * (2 * LINE_BYTES_MAX))
                    assert await stream.receive_some() == b""
                except trio.BrokenResourceError:
                    return

    trio.run(main)


def test_a_caller_that_leaves_at_once_does_no_harm(tmp_path: Path) -> None:
    async def main() -> None:
        async with controlled(tmp_path) as (path, _):
            for _ in range(CONNECTIONS_MAX * 2):
                async with await trio.open_unix_socket(str(path)) as stream:
                    await stream.send_all(b'{"do": "state"}\n' * 3)
            with trio.fail_after(10):
                while True:
                    async with await trio.open_unix_socket(str(path)) as stream:
                        await stream.send_all(b'{"do": "state"}\n')
                        if await stream.receive_some():
                            return

    trio.run(main)


def test_callers_beyond_the_limit_are_turned_away(tmp_path: Path) -> None:
    async def main() -> None:
        async with controlled(tmp_path) as (path, _):
            held = [await trio.open_unix_socket(str(path)) for _ in range(CONNECTIONS_MAX)]
            for stream in held:
                await stream.send_all(b'{"do": "state"}\n')
                assert await stream.receive_some()
            async with await trio.open_unix_socket(str(path)) as stream:
                with trio.fail_after(10):
                    assert await stream.receive_some() == b""
            for stream in held:
                await stream.aclose()

    trio.run(main)


def test_the_socket_is_its_owners_alone_and_goes_with_the_node(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / SOCKET_NAME).touch()  # left by a node that was killed
        async with controlled(tmp_path) as (path, _):
            assert path == tmp_path / SOCKET_NAME
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_ISSOCK(path.stat().st_mode)
        assert not path.exists()

    trio.run(main)


def test_a_folder_too_deep_for_a_socket_gets_one_elsewhere(tmp_path: Path) -> None:
    async def main() -> None:
        deep = tmp_path / ("d" * 100)
        deep.mkdir()
        async with controlled(deep) as (path, _):
            assert path.parent != deep
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert (await ask(path, b'{"do": "state"}\n'))["ok"]
        assert not path.parent.exists()

    trio.run(main)


@pytest.mark.parametrize("chain_type", ["Live", "local", ""])
def test_only_development_chains_have_the_socket(tmp_path: Path, chain_type: str) -> None:
    with pytest.raises(ControlRefusedError, match="without --control"):
        trio.run(serve_control, tmp_path, chain_type, Recorded())
    assert not (tmp_path / SOCKET_NAME).exists()


def test_a_node_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="Is the node running"):
        ControlClient(tmp_path / SOCKET_NAME).unblock()


def test_a_node_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / SOCKET_NAME))
        listening.listen()
        with pytest.raises(ControlError, match="not paused"):
            ControlClient(tmp_path / SOCKET_NAME, timeout_s=0.1).unblock()


def test_a_refusal_reaches_the_caller(tmp_path: Path) -> None:
    done = threading.Event()

    async def main() -> None:
        async with controlled(tmp_path) as (path, _):
            with pytest.raises(ControlError, match="whole number"):
                await trio.to_thread.run_sync(ControlClient(path).set_latency_ms, -1)
            done.set()

    trio.run(main)
    assert done.is_set()
