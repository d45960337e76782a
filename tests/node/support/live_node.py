"""A real node in a thread of the test process, without the executor and the serving engine."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from genesis.spec import load_spec
from node.authoring.author import Author
from node.chain.chain import Chain
from node.operations.config import Sealing
from node.rpc.blob_routes import blob_routes
from node.rpc.interfaces import About, Keys, NoNetwork, RpcNetwork, Sealer
from node.rpc.limits import Limits
from node.rpc.server import serve
from node.service.health import NodeHealth
from node.storage.blob_store import BlobStore
from node.storage.database import Database
from node.transactions.pool import Pool

READY_SECONDS = 20.0
NEVER_MS = 3_600_000
ABOUT = About("live", "0", "Development", {"tokenSymbol": "OPEN"})


@dataclass
class LiveNode:
    """What the JSON-RPC server sees of the node, and where it listens."""

    chain: Chain
    pool: Pool
    blobs: BlobStore
    about: About = ABOUT
    network: RpcNetwork = field(default_factory=NoNetwork)
    keys: Keys | None = None
    sealer: Sealer | None = None
    port: int = 0

    @property
    def health(self) -> NodeHealth:
        """The problems of the node."""
        return NodeHealth(self.chain.database, Author(self.chain, self.pool), None)

    @property
    def rpc_url(self) -> str:
        """Where WebSocket clients connect."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def http_url(self) -> str:
        """Where HTTP clients connect."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def live_node(folder: Path, sealing: Sealing = Sealing.INSTANT) -> Iterator[LiveNode]:
    """Run a development node on a port that the system chooses."""
    ready: queue.Queue[tuple[LiveNode, trio.lowlevel.TrioToken, trio.CancelScope]] = queue.Queue()

    async def main() -> None:
        with Database.open(folder / "db") as database:
            chain = Chain(load_spec("dev"), database)
            pool = Pool(chain)
            node = LiveNode(chain, pool, BlobStore(folder / "blobs"))
            async with trio.open_nursery() as nursery:
                routes = blob_routes(node.blobs)
                endpoint = await nursery.start(
                    partial(serve, node, "127.0.0.1", 0, Limits(), routes)
                )
                node.port = endpoint.port
                nursery.start_soon(Author(chain, pool, sealing, NEVER_MS).run)
                ready.put((node, trio.lowlevel.current_trio_token(), nursery.cancel_scope))

    thread = threading.Thread(target=trio.run, args=(main,), daemon=True)
    thread.start()
    node, token, scope = ready.get(timeout=READY_SECONDS)
    try:
        yield node
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join(READY_SECONDS)
