"""A small real chain behind a real server on a port that the system chooses, and its clients."""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, Protocol

import httpx
import trio
from trio_websocket import WebSocketConnection, wrap_client_stream

from genesis.spec import ChainSpec
from node.authoring.author import Author
from node.chain.chain import Chain
from node.operations.config import Sealing
from node.operations.metrics import Metrics
from node.rpc.connections import ServerEndpoint
from node.rpc.interfaces import About, NoNetwork
from node.rpc.limits import Limits
from node.rpc.server import serve
from node.service.health import NodeHealth
from node.storage.database import Database
from node.transactions.pool import Pool
from runtime.crypto.hashing import twox_128
from runtime.crypto.keys import Keypair
from runtime.frame.extrinsic import Additional, Extra
from runtime.frame.state import Overlay
from runtime.types.era import IMMORTAL
from runtime.types.primitives import AccountId, Hash, Id

TEST_SECONDS = 60
ACCOUNT_KEYS = "0x" + (twox_128(b"System") + twox_128(b"Account")).hex()
ALICE, BOB = Keypair.from_uri("//Alice"), Keypair.from_uri("//Bob")


class Failed(Exception):
    """A call was answered by an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(str(error))
        self.code, self.message, self.data = error["code"], error["message"], error.get("data")


class FakeKeys:
    """Keys in memory."""

    def __init__(self) -> None:
        self.inserted: list[tuple[str, str, bytes]] = []

    def insert(self, kind: str, secret_uri: str, public: bytes) -> None:
        if Keypair.from_uri(secret_uri).account != public:
            raise ValueError("The public key is not that of the secret URI.")
        self.inserted.append((kind, secret_uri, public))

    def rotate(self) -> bytes:
        return bytes(32)

    def has(self, public: bytes, kind: str) -> bool:
        return any(entry[0] == kind and entry[2] == public for entry in self.inserted)


class FakeSealer:
    """Seals through the author."""

    def __init__(self, author: Author) -> None:
        self._author = author

    async def create_block(
        self, *, create_empty: bool, finalize: bool, parent: Hash | None
    ) -> Hash:
        if parent is not None:
            raise ValueError("This author builds on the best block alone.")
        return (await self._author.seal()).hash

    async def finalize_block(self, block: Hash, justification: bytes | None) -> None:
        if block == bytes(32):
            raise ValueError("There is no such block.")


@dataclass
class NodeUnderTest:
    """A node with its server, as the tests drive it."""

    about: About
    chain: Chain
    pool: Pool
    author: Author
    metrics: Metrics
    nursery: trio.Nursery
    network: NoNetwork = field(default_factory=NoNetwork)
    keys: FakeKeys = field(default_factory=FakeKeys)
    sealer: FakeSealer | None = None
    endpoint: ServerEndpoint = field(default_factory=lambda: ServerEndpoint("127.0.0.1", 0))
    _ids: itertools.count = field(default_factory=itertools.count)

    @property
    def health(self) -> NodeHealth:
        return NodeHealth(self.chain.database, self.author, None)

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.endpoint.port}/"

    async def seal(self, blocks: int = 1) -> Hash:
        """Make and finalize blocks; returns the last one's hash."""
        for _ in range(blocks):
            executed = await self.author.seal()
        return executed.hash

    async def build(self, finalize: bool = False) -> Hash:
        """Make one block without telling the pool, final or not."""
        executed = await self.chain.build((), (self.author._timestamp(),), ())
        self.chain.extend(executed)
        if finalize:
            await self.chain.finalize(executed.hash)
        return executed.hash

    def transfer(self, sender: Keypair = ALICE, value: int = 5, nonce: int | None = None) -> bytes:
        """Sign a transfer to Bob."""
        machine = self.chain.machine
        call = machine.call(
            "Balances", "transfer_keep_alive", dest=Id(AccountId(BOB.account)), value=value
        )
        account = AccountId(sender.account)
        extra = Extra(IMMORTAL, self.pool.next_nonce(account) if nonce is None else nonce, 0)
        version = machine.version
        genesis = self.chain.genesis_hash
        additional = Additional(version.spec_version, version.transaction_version, genesis, genesis)
        return machine.extrinsics.sign(call, sender, extra, additional)

    def balance(self, account: bytes) -> int:
        with self.chain.machine.on(Overlay(self.chain.best_state())):
            system: Any = self.chain.machine.pallets["System"]
            return int(system.get_account(AccountId(account)).data.free)

    async def post(self, body: object, **options: Any) -> httpx.Response:
        """POST a body: bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.post(self.http_url, content=content, **options)

    async def call(self, method: str, *params: Any) -> Any:
        """Call over HTTP. Raises Failed."""
        request = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        answer = (await self.post(request)).json()
        assert answer["id"] == request["id"]
        if "error" in answer:
            raise Failed(answer["error"])
        return answer["result"]

    @asynccontextmanager
    async def connect(self, **options: Any) -> AsyncIterator[Client]:
        """Open a WebSocket."""
        port = self.endpoint.port
        async with (
            await trio.open_tcp_stream("127.0.0.1", port) as stream,
            trio.open_nursery() as nursery,
        ):
            host = f"127.0.0.1:{port}"
            socket = await wrap_client_stream(nursery, stream, host, "/", **options)
            client = Client(socket, stream)
            yield client
            if not client.is_cut:
                await socket.aclose()
            nursery.cancel_scope.cancel()


class Client:
    """A WebSocket client that keeps what arrives in order."""

    def __init__(self, socket: WebSocketConnection, stream: trio.SocketStream) -> None:
        self.socket = socket
        self.stream = stream
        self.is_cut = False
        self.arrived: list[dict[str, Any]] = []
        self._ids = itertools.count(1)

    async def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self.socket.get_message())
        self.arrived.append(message)
        return message

    async def call(self, method: str, *params: Any) -> Any:
        """Call and wait for the answer; notifications that arrive before it are kept."""
        number = next(self._ids)
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        await self.socket.send_message(json.dumps(request))
        while True:
            message = await self._receive()
            if message.get("id") == number:
                self.arrived.remove(message)
                if "error" in message:
                    raise Failed(message["error"])
                return message["result"]

    async def batch(self, *calls: tuple[str, list[Any]]) -> list[dict[str, Any]]:
        """Call several methods at once and wait for their answers."""
        requests = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number, (method, params) in enumerate(calls)
        ]
        await self.socket.send_message(json.dumps(requests))
        while True:
            message: Any = await self._receive()
            if isinstance(message, list):
                self.arrived.remove(message)
                return message

    def cut(self) -> None:
        """Close the connection without a word, as a crash does."""
        self.is_cut = True
        self.stream.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()

    async def event(self, subscription: str) -> Any:
        """Wait for the next notification of a subscription."""
        while True:
            for message in self.arrived:
                if message.get("params", {}).get("subscription") == subscription:
                    self.arrived.remove(message)
                    return message["params"]["result"]
            await self._receive()


Scenario = Callable[[NodeUnderTest], Awaitable[None]]


async def run(scenario: Scenario, folder: Path, spec: ChainSpec, limits: Limits, host: str) -> None:
    """Run a scenario over a node; everything ends when it returns."""
    with trio.fail_after(TEST_SECONDS), Database.open(folder / "db") as database:
        chain = Chain(spec, database)
        pool = Pool(chain)
        author = Author(chain, pool, Sealing.MANUAL)
        about = About("node", "1.2.3", chain.spec.chain_type, chain.spec.properties)
        async with trio.open_nursery() as nursery:
            node = NodeUnderTest(about, chain, pool, author, Metrics(), nursery)
            node.sealer = FakeSealer(author)
            node.endpoint = await nursery.start(_serve, node, host, limits)
            await scenario(node)
            nursery.cancel_scope.cancel()


async def _serve(
    node: NodeUnderTest,
    host: str,
    limits: Limits,
    task_status: Any = trio.TASK_STATUS_IGNORED,
) -> None:
    await serve(node, host, 0, limits, metrics=node.metrics, task_status=task_status)


class Drive(Protocol):
    """The fixture `drive`."""

    def __call__(
        self, scenario: Scenario, limits: Limits = ..., host: str = "127.0.0.1"
    ) -> None: ...
