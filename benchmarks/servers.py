"""`python -m benchmarks.servers node|echo`: a server for the rpc row, in a process of its own.

It prints its port, and for every line that it reads the CPU seconds that it has used; it ends with
its input. So the row measures the server and not its client.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio
from hypercorn.config import Config
from hypercorn.trio import serve as hypercorn_serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from genesis.spec import load_spec
from node.authoring.author import Author
from node.chain.chain import Chain
from node.rpc.interfaces import About, Keys, NoNetwork, RpcNetwork, Sealer
from node.rpc.server import serve as node_serve
from node.service.health import NodeHealth
from node.storage.database import Database
from node.transactions.pool import Pool

ReportPort = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class ServedNode:
    """The interfaces that the JSON-RPC server needs of a node."""

    about: About
    chain: Chain
    pool: Pool
    network: RpcNetwork
    keys: Keys | None = None
    sealer: Sealer | None = None
    namespaces: tuple[object, ...] = ()

    @property
    def health(self) -> NodeHealth:
        """The problems of the node."""
        return NodeHealth(self.chain.database, Author(self.chain, self.pool), None)


async def serve_node(report_port: ReportPort) -> None:
    """Serve JSON-RPC of a development chain on a free port."""
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
        Database.open(Path(folder) / "db") as database,
    ):
        chain = Chain(load_spec("dev"), database)
        about = About("benchmark", "0", chain.spec.chain_type, dict(chain.spec.properties))
        node = ServedNode(about, chain, Pool(chain), NoNetwork())
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(partial(node_serve, node, "127.0.0.1", 0))
            report_port(endpoint.port)


async def serve_echo(report_port: ReportPort) -> None:
    """Serve an echo with hypercorn and starlette on a free port."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.accesslog = config.errorlog = None
    app = Starlette(routes=[Route("/", _post, methods=["POST"]), WebSocketRoute("/", _websocket)])
    async with trio.open_nursery() as nursery:
        urls = await nursery.start(partial(hypercorn_serve, app, config))  # type: ignore[arg-type]
        report_port(int(urls[0].rpartition(":")[2]))


async def _post(request: Request) -> Response:
    return Response(await request.body(), media_type="application/json")


async def _websocket(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        return


def main(kind: str) -> None:
    """Serve until the input ends."""
    servers: dict[str, Callable[[ReportPort], Awaitable[None]]] = {
        "node": serve_node,
        "echo": serve_echo,
    }
    threading.Thread(target=_print_cpu_seconds, daemon=True).start()
    trio.run(servers[kind], lambda port: print(port, flush=True))


def _print_cpu_seconds() -> None:
    for _ in sys.stdin:
        print(time.process_time(), flush=True)
    # The parent is gone or done: nothing here is worth an orderly end.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
