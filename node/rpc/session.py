"""One client of the JSON-RPC server: what waits to be sent to it, and what it is subscribed to.

Rules that hold here:
- A subscription's task starts once the answer that names it is in the outbox, so the answer is
  always the first that the client reads of it.
- Nothing is put into a full outbox: who has something to say waits for room. A client that takes
  nothing for long is cut off by its transport; one whose events overflow meanwhile is dropped.
- No exception leaves a subscription's task: it is logged, and the connection ends.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from node.rpc.errors import MethodNotFoundError, TooManySubscriptionsError
from node.rpc.limits import Limits
from node.rpc.parameters import Json, SubscriptionId
from node.rpc.shares import Shares

logger = logging.getLogger(__name__)

SUBSCRIPTION_ID_BYTES: Final = 8


class LaggingError(Exception):
    """A subscriber took so little that its events were lost."""


class ClientOutbox:
    """Texts that wait to be sent to one client, in order; bounded in number and size."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._texts: deque[str] = deque()
        self._size = 0
        self._filled, self._drained = trio.Event(), trio.Event()

    @property
    def has_room(self) -> bool:
        """Return whether another text may be put in."""
        limits = self._limits
        return len(self._texts) < limits.outbound_messages and self._size < limits.outbound_bytes

    async def room(self) -> None:
        """Wait until there is room; from then to the next checkpoint it stays."""
        while not self.has_room:
            if self._drained.is_set():
                self._drained = trio.Event()
            await self._drained.wait()

    def put(self, text: str) -> None:
        """Append a text."""
        self._texts.append(text)
        self._size += len(text)
        self._filled.set()

    async def take(self) -> str:
        """Remove the first text, waiting for one."""
        while not self._texts:
            self._filled = trio.Event()
            await self._filled.wait()
        text = self._texts.popleft()
        self._size -= len(text)
        if self.has_room:
            self._drained.set()
        return text


@dataclass(eq=False, slots=True)
class Subscription:
    """A source of notifications to a client until it unsubscribes or leaves."""

    id: SubscriptionId
    event: str
    session: Session
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def notify(self, result: Json) -> None:
        """Send one notification, waiting for room in the client's outbox."""
        async with self.session.shares.turn:
            text = json.dumps(
                {
                    "jsonrpc": "2.0",
                    "method": self.event,
                    "params": {"subscription": self.id, "result": result},
                },
                separators=(",", ":"),
            )
        outbox = self.session.outbox
        assert outbox is not None, "only connections that stay have subscriptions"
        await outbox.room()
        outbox.put(text)


SubscriptionTask = Callable[[Subscription], Awaitable[None]]
Task = Callable[[], Awaitable[None]]


class Session:
    """A client for as long as its connection lasts; for HTTP, for one request."""

    def __init__(
        self,
        limits: Limits,
        peer: str,
        *,
        is_local: bool,
        shares: Shares | None = None,
        nursery: trio.Nursery | None = None,
    ) -> None:
        self.limits = limits
        self.shares = shares or Shares(limits)
        self.peer = peer
        self.is_local = is_local
        self.heard_at = trio.current_time()
        """When the client last asked something."""
        self.outbox = None if nursery is None else ClientOutbox(limits)
        self._nursery = nursery
        self._subscriptions: dict[SubscriptionId, Subscription] = {}
        self._waiting: list[Task] = []

    def subscribe(self, event: str, task: SubscriptionTask) -> SubscriptionId:
        """Run a task for a new subscription once its id is answered. Raises RpcError."""
        self.require_stream()
        if len(self._subscriptions) >= self.limits.subscriptions_per_connection:
            raise TooManySubscriptionsError(
                "This connection has as many subscriptions as it may. Unsubscribe one first."
            )
        if not self.shares.take_subscription(self.peer):
            raise TooManySubscriptionsError(
                "Your address, or all clients together, have as many subscriptions as they may."
            )
        name = SubscriptionId(secrets.token_hex(SUBSCRIPTION_ID_BYTES))
        subscription = self._subscriptions[name] = Subscription(name, event, self)

        async def run() -> None:
            try:
                with subscription.scope:
                    await task(subscription)
            finally:
                self._subscriptions.pop(name, None)
                self.shares.give_back_subscription(self.peer)

        self.start_after_answer(run)
        return name

    def unsubscribe(self, name: SubscriptionId, event: str) -> bool:
        """End a subscription; False where there is none of this id and event."""
        subscription = self._subscriptions.get(name)
        if subscription is None or subscription.event != event:
            return False
        del self._subscriptions[name]
        subscription.scope.cancel()
        return True

    def count_of(self, event: str) -> int:
        """How many subscriptions of one kind the client has."""
        return sum(entry.event == event for entry in self._subscriptions.values())

    def log_end(self, subscription: Subscription, reason: str) -> None:
        """Log why a subscription ends before its time."""
        logger.warning(
            "subscription-stopped peer=%s event=%s reason=%s", self.peer, subscription.event, reason
        )

    def require_stream(self) -> None:
        """Raise MethodNotFoundError for a client that cannot be sent notifications."""
        if self._nursery is None:
            raise MethodNotFoundError(
                "This method sends notifications, which HTTP cannot carry. Use a WebSocket."
            )

    def start_after_answer(self, task: Task) -> None:
        """Start a task of this connection once the answer to the current call is on its way."""
        self._waiting.append(task)

    def start_waiting(self) -> None:
        """Start what waited for the answer."""
        waiting, self._waiting = self._waiting, []
        if self._nursery is not None:
            for task in waiting:
                self._nursery.start_soon(self._isolated, task)

    def close(self) -> None:
        """End the connection and all its tasks."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    async def _isolated(self, task: Task) -> None:
        try:
            await task()
        except LaggingError as error:
            logger.warning("subscriber-dropped peer=%s reason=%s", self.peer, error)
            self.close()
        except Exception:
            logger.exception("subscription-failed peer=%s", self.peer)
            self.close()
