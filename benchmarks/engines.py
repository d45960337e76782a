"""Engines of consensus in virtual time: no network, no clock, no disk, the CPU time of each step.

Every message arrives after the same delay; signing and the work of the caller are not counted.
"""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass, field
from typing import Final

from consensus.engine import Engine
from consensus.messages import (
    BlockExecuted,
    Broadcast,
    Built,
    Commit,
    Event,
    Execute,
    Propose,
    Received,
    Send,
    Sign,
    Signed,
    Start,
)
from consensus.settings import EngineSettings
from runtime.codec.scale import codec
from runtime.crypto.keys import Keypair
from runtime.shared.finality import (
    ENGINE,
    Authority,
    AuthoritySet,
    Ballot,
    Claim,
    Vote,
    payload,
)
from runtime.types.primitives import AccountId, Digest, Hash, Header, PreRuntime

GENESIS: Final = Hash(b"g" * 32)
ROOT: Final = Hash(b"r" * 32)
DELAY_MS: Final = 100
HEIGHT_MAX: Final = 1_000_000
_claim: Final = codec(Claim)


@dataclass(slots=True)
class EngineNetwork:
    """Engines of validators of equal weight; `step_seconds` is the CPU time of their steps."""

    nodes: int
    step_seconds: float = 0.0
    committed: int = 0
    """The number of blocks that the first node has finalized."""
    _now: int = 0
    _order: int = 0
    _heap: list[tuple[int, int, int, Event]] = field(default_factory=list)
    _numbers: dict[Hash, int] = field(default_factory=lambda: {ROOT: 0})
    _pairs: tuple[Keypair, ...] = ()
    _engines: tuple[Engine, ...] = ()

    def __post_init__(self) -> None:
        self._pairs = tuple(Keypair.from_seed(b"%032d" % index) for index in range(self.nodes))
        authorities = AuthoritySet(
            0,
            Hash(bytes(32)),
            tuple(Authority(AccountId(pair.account), pair.account, 1) for pair in self._pairs),
        )
        self._engines = tuple(
            Engine(GENESIS, authorities, index, ROOT, HEIGHT_MAX, EngineSettings(delay_ms=1_000))
            for index in range(self.nodes)
        )
        for index in range(self.nodes):
            self._schedule(index, Start(()), 0)

    def run(self, heights: int) -> None:
        """Deliver messages until that many more blocks are final; timers never expire."""
        until = self.committed + heights
        while self.committed < until:
            self._now, _, index, event = heapq.heappop(self._heap)
            started = time.process_time()
            actions = self._engines[index].step(event)
            self.step_seconds += time.process_time() - started
            for action in actions:
                self._carry_out(index, action)

    def _carry_out(self, index: int, action: object) -> None:
        match action:
            case Sign(ballot):
                self._schedule(index, Signed(self._vote(index, ballot)), 0)
            case Broadcast(message):
                for other in range(self.nodes):
                    if other != index:
                        self._schedule(other, Received(index, message), DELAY_MS)
            case Send(target, message):
                assert isinstance(target, int), "peers are named by their index here"
                self._schedule(target, Received(index, message), DELAY_MS)
            case Propose(view, parent, claim):
                number = self._numbers[parent] + 1
                logs = (PreRuntime(ENGINE, _claim.encode(claim)),)
                header = Header(parent, number, ROOT, ROOT, Digest(logs))
                self._numbers[header.hash] = number
                self._schedule(index, Built(view, header), 0)
            case Execute(header, _):
                self._schedule(index, BlockExecuted(header.hash, True), 0)
            case Commit(certificate) if index == 0:
                self.committed = self._numbers[certificate.ballot.digest]
            case _:  # records, timers and reports cost the engine nothing more
                return

    def _vote(self, index: int, ballot: Ballot) -> Vote:
        return Vote(ballot, index, self._pairs[index].sign(payload(GENESIS, ballot)))

    def _schedule(self, index: int, event: Event, delay_ms: int) -> None:
        self._order += 1
        heapq.heappush(self._heap, (self._now + delay_ms, self._order, index, event))


def signatures_to_verify(nodes: int) -> int:
    """Return how many signatures of others prove a block final to a node, at equal weights.

    Two quorums of more than 2/3, NOTARIZE (with the leader's) and FINALIZE, less its own votes.
    """
    quorum = 2 * nodes // 3 + 1
    return 2 * (quorum - 1)
