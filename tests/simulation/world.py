"""The world of a simulation: one virtual clock, one heap of events, and a network that misbehaves.

Time is in milliseconds and moves from event to event. Whatever is random comes from one generator,
so a seed replays to the bit.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from consensus.messages import Message
from tests.simulation.ledger import Body, Ledger

if TYPE_CHECKING:
    from tests.simulation.node import Node
    from tests.simulation.oracle import Oracle

BOTH = 2
"""The half of an honest node that is connected to both copies of a twin."""


@dataclass(frozen=True, slots=True)
class LinkConditions:
    """What happens to messages."""

    low_ms: int = 50
    span_ms: int = 1
    loss: float = 0.0
    duplication: float = 0.0
    straggling: float = 0.0
    """The share of messages that are overtaken by many later ones."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How long the work of nodes takes, and how they pass bodies on."""

    pace_ms: int = 300
    execution_ms: int = 0
    inline: float = 1.0
    """The share of proposals that come with their body."""
    refusal: float = 0.0
    """The share of requests that fail though the peer is there."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A message under way, with the body of its block where it has one."""

    source: int
    message: Message
    body: Body | None


Call = Callable[[], None]
REQUEST_TIMEOUT_MS = 1000


class World:
    """Nodes, the network between them, and time."""

    def __init__(self, ledger: Ledger, oracle: Oracle, rng: Random) -> None:
        self.ledger = ledger
        self.oracle = oracle
        self.rng = rng
        self.now = 0
        self.conditions = LinkConditions()
        self.habits = Habits()
        self.nodes: list[Node] = []
        self.copies: dict[int, list[Node]] = {}
        self.groups: Mapping[int, int] | None = None
        """The group of each identity while the network is cut apart."""
        self.halves: Mapping[int, int] = {}
        """The copy of each twin that an honest node is connected to."""
        self.cut = False
        """True where honest nodes of different halves are disconnected."""
        self.without_bodies: frozenset[int] = frozenset()
        """The identities that no body reaches: messages do, requests for blocks fail."""
        self.skews_ms: dict[int, int] = {}
        """By how much the clock of an identity is ahead of the world's."""
        self.is_clocked = False
        """Whether blocks carry the time of their leaders' clocks."""
        self.counts: Counter[str] = Counter()
        self.steps = 0
        self._heap: list[tuple[int, int, Node, int, Packet | Call]] = []
        self._order = 0

    def add(self, node: Node) -> None:
        """Take a node in; a second one of the same identity is its twin."""
        self.nodes.append(node)
        self.copies.setdefault(node.identity, []).append(node)

    # ------------------------------------------------------------------------------- time

    def after(self, delay_ms: int, node: Node, call: Call) -> None:
        """Let a node do something later, unless its present work has ended by then."""
        self._order += 1
        heapq.heappush(self._heap, (self.now + delay_ms, self._order, node, node.life, call))

    def run(self, until_ms: int, stop: Callable[[], bool] | None = None) -> bool:
        """Let time pass; say whether `stop` came true."""
        heap = self._heap
        while heap and heap[0][0] <= until_ms:
            if stop is not None and stop():
                return True
            self.now, _, node, token, item = heapq.heappop(heap)
            if isinstance(item, Packet):
                is_there = token == node.incarnation and node.is_up
                if is_there and self._is_open(item.source, node.identity):
                    node.deliver(item)
            elif token == node.life and node.is_up:
                node.call(item)
        if stop is not None and stop():
            return True
        self.now = max(self.now, until_ms)
        return False

    # ---------------------------------------------------------------------------- network

    def connected(self, origin: Node, target: Node) -> bool:
        """Return whether two nodes have a connection."""
        return target.is_up and self._is_open(origin.identity, target.identity)

    def route(self, origin: Node, identity: int) -> Node | None:
        """Return the copy of a node that another one speaks with."""
        copies = self.copies.get(identity)
        if copies is None:
            return None
        here = self.halves.get(origin.identity, BOTH)
        if len(self.copies[origin.identity]) > 1:  # a twin is connected only to its half
            side = origin.side
            if len(copies) > 1:
                return copies[side]
            return copies[0] if self.halves.get(identity, BOTH) in (side, BOTH) else None
        if len(copies) > 1:
            return copies[here if here != BOTH else self.rng.randrange(2)]
        return copies[0]

    def send(self, origin: Node, identity: int, message: Message, body: Body | None) -> None:
        """Put a message on its way, or lose it."""
        target = self.route(origin, identity)
        if target is None or not self.connected(origin, target):
            return
        conditions, rng = self.conditions, self.rng
        if conditions.loss and rng.random() < conditions.loss:
            self.counts["lost"] += 1
            return
        packet = Packet(origin.identity, message, None if identity in self.without_bodies else body)
        self._put(target, packet, self.delay_ms())
        if conditions.duplication and rng.random() < conditions.duplication:
            self.counts["duplicated"] += 1
            self._put(target, packet, self.delay_ms() + rng.randrange(500))

    def delay_ms(self) -> int:
        """Return how long the next message takes."""
        conditions, rng = self.conditions, self.rng
        delay = conditions.low_ms + int(rng.random() * conditions.span_ms)
        if conditions.straggling and rng.random() < conditions.straggling:
            self.counts["reordered"] += 1
            delay += rng.randrange(2000)
        return delay

    def request(
        self, origin: Node, identity: int, ask: Callable[[Node], object], then: Callable[..., None]
    ) -> None:
        """Ask a peer for something; `then` gets the answer, or None when it does not come."""
        target = self.route(origin, identity)
        fails = self.habits.refusal and self.rng.random() < self.habits.refusal
        fails = fails or origin.identity in self.without_bodies
        if target is None or fails or not self.connected(origin, target) or target.is_paused:
            wait = 0 if target is None or not target.is_up else REQUEST_TIMEOUT_MS
            self.after(wait, origin, lambda: then(None))
            return
        way = self.delay_ms() + self.delay_ms()
        peer = target
        self.after(way, origin, lambda: then(ask(peer) if self.connected(origin, peer) else None))

    def _put(self, target: Node, packet: Packet, delay_ms: int) -> None:
        self._order += 1
        heapq.heappush(
            self._heap, (self.now + delay_ms, self._order, target, target.incarnation, packet)
        )

    def _is_open(self, origin: int, target: int) -> bool:
        if self.cut and self.halves.get(origin, BOTH) + self.halves.get(target, BOTH) == 1:
            return False
        groups = self.groups
        return groups is None or groups.get(origin) == groups.get(target)
