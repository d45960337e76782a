"""The JSON-RPC server: HTTP POST and WebSocket on one port, /health, /metrics, other routes.

A WebSocket has one task that reads and answers in order, one that sends, and one for each
subscription. Methods that touch keys or remove transactions are answered to callers on this machine
only: the server listens on loopback, and the caller is a program here (node/rpc/callers.py).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Final, Protocol

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from ml.api.app import http_error, server_error
from node.operations.health import HealthCollector
from node.operations.metrics import CONTENT_TYPE, Metrics
from node.rpc.blocks import Blocks
from node.rpc.body_timeout import BodyTimeout, BodyTimeoutError, answer_late_body
from node.rpc.callers import is_program_here
from node.rpc.connections import Connections, ServerEndpoint, endpoint_of, listen
from node.rpc.dispatcher import Dispatcher
from node.rpc.interfaces import RpcNode
from node.rpc.limits import Limits
from node.rpc.methods import Method, methods_of
from node.rpc.namespaces.archive import Archive
from node.rpc.namespaces.author import Author
from node.rpc.namespaces.chain import Chain
from node.rpc.namespaces.chain_head import ChainHead
from node.rpc.namespaces.chain_spec import ChainSpec
from node.rpc.namespaces.engine import Engine
from node.rpc.namespaces.payment import Payment
from node.rpc.namespaces.state import State
from node.rpc.namespaces.system import System
from node.rpc.namespaces.transaction import Transaction
from node.rpc.session import Session
from node.rpc.shares import Shares

logger = logging.getLogger(__name__)

HOST: Final = "127.0.0.1"
PORT: Final = 9944
JSON_TYPE: Final = "application/json"
DEFAULT_LIMITS: Final = Limits()


class TaskStatus(Protocol):
    """The part of trio's task status that `serve` uses: it hands over the endpoint."""

    def started(self, value: ServerEndpoint) -> None: ...


async def serve(
    node: RpcNode,
    host: str = HOST,
    port: int = PORT,
    limits: Limits = DEFAULT_LIMITS,
    extra_routes: Sequence[BaseRoute] = (),
    *,
    metrics: Metrics | None = None,
    task_status: TaskStatus = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; started with the endpoint once it listens. Raises ListenError."""
    listeners = await listen(host, port)
    endpoint = endpoint_of(listeners)
    server = Server(node, limits, metrics or Metrics(), endpoint)
    connections = Connections(server.app(extra_routes), limits, server.metrics)
    logger.info("rpc-listening url=%s methods=%d", endpoint.url, len(server.methods))
    task_status.started(endpoint)
    await connections.serve(listeners)


def methods_for(node: RpcNode, limits: Limits, shares: Shares | None = None) -> dict[str, Method]:
    """Return all methods that a node answers."""
    blocks = Blocks(node, shares or Shares(limits))
    table: dict[str, Method] = {}
    namespaces: list[object] = [
        System(node, blocks, lambda: table),
        Chain(node, blocks),
        State(node, blocks, limits),
        Author(node),
        Payment(blocks),
        ChainSpec(node),
        ChainHead(node, blocks),
        Archive(node, blocks),
        Transaction(node),
    ]
    if node.sealer is not None:
        namespaces.append(Engine(node.sealer))
    # A node may bring namespaces of its own, declared in the same way.
    namespaces += getattr(node, "namespaces", ())
    table.update(methods_of(namespaces))
    return table


class Server:
    """What is answered on the port."""

    def __init__(
        self, node: RpcNode, limits: Limits, metrics: Metrics, endpoint: ServerEndpoint
    ) -> None:
        self.metrics = metrics
        self._shares = Shares(limits)
        self.methods = methods_for(node, limits, self._shares)
        self._node = node
        self._limits = limits
        self._endpoint = endpoint
        self._dispatcher = Dispatcher(self.methods, metrics)
        metrics.watch_heights(lambda: node.chain.best.number, lambda: node.chain.finalized.number)
        metrics.pool_transactions.set_function(lambda: len(node.pool))
        metrics.network_peers.set_function(lambda: len(node.network.peers()))
        metrics.watch(HealthCollector(node.health))

    def app(self, extra_routes: Sequence[BaseRoute]) -> Starlette:
        """Return the ASGI application."""
        # Any page may read the chain, as with every public node; a caller with an Origin is
        # never local, so no page reaches the keys.
        cross_origin = Middleware(
            CORSMiddleware,
            allow_origins=["*"],
            allow_methods=["GET", "POST", "OPTIONS"],
            allow_headers=["*"],
            # Browsers ask before a public page may reach this machine. Apps on the web are how
            # people look at a node of their own; a node that is open to others needs no leave.
            allow_private_network=self._endpoint.is_loopback,
        )
        app = Starlette(
            routes=[
                Route("/", self._post, methods=["POST"]),
                WebSocketRoute("/", self._websocket),
                Route("/health", self._health, methods=["GET"]),
                Route("/metrics", self._metrics_text, methods=["GET"]),
                *extra_routes,
                WebSocketRoute("/{path:path}", _refuse_websocket),
            ],
            middleware=[
                cross_origin,
                Middleware(BodyTimeout, seconds=self._limits.request_timeout_s),
            ],
            exception_handlers={
                HTTPException: http_error,
                BodyTimeoutError: answer_late_body,
                Exception: server_error,
            },
        )
        # A path is what it says: /health/ is unknown, not a redirection.
        app.router.redirect_slashes = False
        return app

    # --------------------------------------------------------------------------------- HTTP

    async def _health(self, request: Request) -> Response:
        """Answer 200 where the node is ready to serve, 503 with the problems where it is not."""
        network, chain = self._node.network, self._node.chain
        problems = self._node.health.problems()
        return JSONResponse(
            status_code=503 if problems else 200,
            content={
                "status": problems[0].kind
                if problems
                else "syncing"
                if network.is_syncing
                else "ok",
                "problems": [
                    {"kind": problem.kind, "sentence": problem.sentence} for problem in problems
                ],
                "isSyncing": network.is_syncing,
                "peers": len(network.peers()),
                "shouldHavePeers": network.should_have_peers,
                "bestBlock": chain.best.number,
                "finalizedBlock": chain.finalized.number,
            },
        )

    async def _metrics_text(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type=CONTENT_TYPE)

    async def _post(self, request: Request) -> Response:
        peer = request.client.host if request.client else ""
        is_local = self._is_local(peer, request.headers)
        session = Session(self._limits, peer, is_local=is_local, shares=self._shares)
        body = bytearray()
        try:
            async with aclosing(request.stream()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > self._limits.request_bytes:
                        break
        except ClientDisconnect:
            return Response(status_code=400)
        status = 413 if len(body) > self._limits.request_bytes else 200
        answer = await self._dispatcher.answer(bytes(body), session)
        if answer is None:
            return Response(status_code=204)
        headers = {"connection": "close"} if status == 413 else None
        return Response(answer, status_code=status, media_type=JSON_TYPE, headers=headers)

    # ---------------------------------------------------------------------------- WebSocket

    async def _websocket(self, websocket: WebSocket) -> None:
        peer = websocket.client.host if websocket.client else ""
        is_local = self._is_local(peer, websocket.headers)
        await websocket.accept()
        self.metrics.rpc_sessions.inc()
        try:
            async with trio.open_nursery() as nursery:
                session = Session(
                    self._limits, peer, is_local=is_local, shares=self._shares, nursery=nursery
                )
                nursery.start_soon(_send, websocket, session)
                try:
                    await self._receive(websocket, session)
                finally:
                    # What still waits is started to be cancelled, and so gives back what it holds.
                    session.start_waiting()
                    nursery.cancel_scope.cancel()
        finally:
            self.metrics.rpc_sessions.dec()

    async def _receive(self, websocket: WebSocket, session: Session) -> None:
        outbox = session.outbox
        assert outbox is not None, "a WebSocket's session has an outbox"
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            session.heard_at = trio.current_time()
            request = message.get("text")
            answer = await self._dispatcher.answer(
                message.get("bytes") or b"" if request is None else request, session
            )
            if answer is not None:
                outbox.put(answer)
            session.start_waiting()
            # A client that does not read its answers is not read either.
            await outbox.room()

    # -------------------------------------------------------------------------------- trust

    def _is_local(self, peer: str, headers: Mapping[str, str]) -> bool:
        """Return whether a caller may reach keys: here, at a node that listens for here alone."""
        return self._endpoint.is_loopback and is_program_here(peer, headers)


async def _refuse_websocket(websocket: WebSocket) -> None:
    """Answer 404 to a WebSocket on a path that has none."""
    request = Request({**websocket.scope, "type": "http", "method": "GET"})
    refusal = HTTPException(404, "There is no WebSocket here, JSON-RPC is on /")
    await websocket.send_denial_response(await http_error(request, refusal))


async def _send(websocket: WebSocket, session: Session) -> None:
    outbox = session.outbox
    assert outbox is not None, "a WebSocket's session has an outbox"
    try:
        while True:
            await websocket.send_text(await outbox.take())
    except (WebSocketDisconnect, RuntimeError, OSError):
        # The client is gone; the reading task ends by itself as well.
        session.close()
