"""A small network of engines in virtual time, and the keys and headers that its tests need.

Everything is an event in one heap, ordered by time and number: no clock, no randomness. A node's
log survives its crash, as a synced file would.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from consensus.engine import Engine
from consensus.messages import (
    Action,
    BlockExecuted,
    Broadcast,
    Built,
    Commit,
    Event,
    Execute,
    Halt,
    Message,
    Notarized,
    Persist,
    Proposal,
    Propose,
    Received,
    Report,
    ReportEquivocation,
    Send,
    SetTimer,
    Sign,
    Signed,
    Start,
    TimedOut,
    TimerKind,
)
from consensus.settings import EngineSettings
from runtime.codec.scale import codec
from runtime.crypto.hashing import blake2b_256
from runtime.crypto.keys import Keypair
from runtime.shared.finality import (
    ENGINE,
    NO_DIGEST,
    Authority,
    AuthoritySet,
    Ballot,
    Certificate,
    Claim,
    Kind,
    Vote,
    payload,
    skips_hash,
)
from runtime.shared.leaders import schedule_of
from runtime.types.primitives import AccountId, Digest, Hash, Header, PreRuntime

GENESIS = Hash(b"g" * 32)
ROOT = Hash(b"r" * 32)
LATENCY_MS = 100


def keys_of(count: int) -> tuple[Keypair, ...]:
    return tuple(Keypair.from_seed(bytes([index + 1]) * 32) for index in range(count))


def set_of(weights: Sequence[int], epoch: int = 0) -> AuthoritySet:
    return AuthoritySet(
        epoch,
        Hash(bytes(32)),
        tuple(
            Authority(AccountId(pair.account), pair.account, weight)
            for pair, weight in zip(keys_of(len(weights)), weights, strict=True)
        ),
    )


def sign(voter: int, ballot: Ballot, genesis: Hash = GENESIS) -> Vote:
    pair = Keypair.from_seed(bytes([voter + 1]) * 32)
    return Vote(ballot, voter, pair.sign(payload(genesis, ballot)))


def vote(voter: int, kind: Kind, view: int, digest: Hash = NO_DIGEST, epoch: int = 0) -> Vote:
    return sign(voter, Ballot(epoch, view, int(kind), digest))


def certificate(
    voters: Sequence[int], kind: Kind, view: int, digest: Hash = NO_DIGEST, epoch: int = 0
) -> Certificate:
    votes = [vote(voter, kind, view, digest, epoch) for voter in voters]
    return Certificate(votes[0].ballot, tuple((one.voter, one.signature) for one in votes))


def header_of(parent: Hash, number: int, claim: Claim | None, mark: bytes = b"") -> Header:
    logs = () if claim is None else (PreRuntime(ENGINE, codec(Claim).encode(claim)),)
    root = Hash(blake2b_256(mark))
    return Header(parent, number, root, Hash(bytes(32)), Digest(logs))


def proposal_of(
    authorities: AuthoritySet,
    view: int,
    parent: Certificate | None = None,
    skips: tuple[Certificate, ...] = (),
    number: int = 1,
    mark: bytes = b"",
    root: Hash = ROOT,
) -> Proposal:
    """What the leader of a view proposes on a parent."""
    claim = Claim(authorities.epoch, view, skips_hash(skips))
    header = header_of(root if parent is None else parent.ballot.digest, number, claim, mark)
    leader = schedule_of(authorities).leader(view)
    return Proposal(
        header, vote(leader, Kind.NOTARIZE, view, header.hash, authorities.epoch), parent, skips
    )


@dataclass
class Node:
    """An engine with what its caller would keep."""

    index: int
    engine: Engine
    log: list[bytes] = field(default_factory=list)
    generation: int = 0
    is_up: bool = True
    timers: dict[TimerKind, int] = field(default_factory=dict)
    notarized: list[tuple[int, Certificate]] = field(default_factory=list)
    commits: list[tuple[int, Certificate]] = field(default_factory=list)
    convicted: list[ReportEquivocation] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    halts: list[Halt] = field(default_factory=list)
    signed: list[Ballot] = field(default_factory=list)


class Network:
    """Engines, their messages under way, their timers, one virtual clock in milliseconds."""

    def __init__(
        self, weights: Sequence[int] = (1, 1, 1, 1), last_number: int = 1000, root: Hash = ROOT
    ) -> None:
        self.authorities = set_of(weights)
        self.last_number = last_number
        self.root = root
        self.now = 0
        self.numbers: dict[Hash, int] = {root: 0}
        self.headers: dict[Hash, Header] = {}
        self.invalid: dict[Hash, None] = {}
        self.is_open: Callable[[int, int, Message], bool] = lambda _from, _to, _message: True
        self.sent: list[tuple[int, int, Message]] = []
        self._heap: list[tuple[int, int, int, int, Event]] = []
        self._order = 0
        self.pairs = keys_of(len(weights))
        self.nodes = [Node(index, self._engine(index)) for index in range(len(weights))]

    def _engine(self, index: int) -> Engine:
        return Engine(
            genesis=GENESIS,
            authorities=self.authorities,
            me=index,
            root=self.root,
            last_number=self.last_number,
            settings=EngineSettings(delay_ms=1000),
        )

    def start(self, *indices: int) -> None:
        for index in indices or range(len(self.nodes)):
            self.put(index, Start(tuple(self.nodes[index].log)))

    def put(self, index: int, event: Event, delay_ms: int = 0) -> None:
        self._order += 1
        generation = self.nodes[index].generation
        heapq.heappush(self._heap, (self.now + delay_ms, self._order, index, generation, event))

    def crash(self, index: int) -> None:
        node = self.nodes[index]
        node.is_up = False
        node.generation += 1

    def restart(self, index: int) -> None:
        node = self.nodes[index]
        node.generation += 1
        node.is_up = True
        node.timers.clear()
        node.engine = self._engine(index)
        self.start(index)

    def run(self, until_ms: int, stop: Callable[[], bool] = lambda: False) -> None:
        while self._heap and self._heap[0][0] <= until_ms and not stop():
            self.now, order, index, generation, event = heapq.heappop(self._heap)
            node = self.nodes[index]
            if not node.is_up or generation != node.generation:
                continue
            if isinstance(event, TimedOut) and node.timers.get(event.timer.kind) != order:
                continue
            actions = node.engine.step(event)
            are_records = [isinstance(action, Persist) for action in actions]
            assert are_records == sorted(are_records, reverse=True)  # durable before all else
            for action in actions:
                self._carry_out(node, action)
        if not stop():
            self.now = max(self.now, until_ms)

    def _carry_out(self, node: Node, action: Action) -> None:
        match action:
            case Persist(record):
                node.log.append(record)
            case Sign(ballot):
                node.signed.append(ballot)
                self.put(node.index, Signed(sign(node.index, ballot)))
            case Broadcast(message):
                for other in range(len(self.nodes)):
                    if other != node.index:
                        self._send(node.index, other, message)
            case Send(target, message):
                assert isinstance(target, int)
                self._send(node.index, target, message)
            case SetTimer(timer, delay_ms):
                self.put(node.index, TimedOut(timer), delay_ms)
                node.timers[timer.kind] = self._order
            case Propose(view, parent, claim):
                number = self.numbers[parent] + 1
                header = header_of(parent, number, claim)
                self.know(header)
                self.put(node.index, Built(view, header))
            case Execute(header, _):
                self.know(header)
                self.put(node.index, BlockExecuted(header.hash, header.hash not in self.invalid))
            case Notarized(found):
                node.notarized.append((self.now, found))
            case Commit(found):
                node.commits.append((self.now, found))
            case ReportEquivocation():
                node.convicted.append(action)
            case Report():
                node.reports.append(action)
            case Halt():
                node.halts.append(action)

    def know(self, header: Header) -> None:
        self.headers[header.hash] = header
        self.numbers[header.hash] = header.number

    def _send(self, origin: int, target: int, message: Message) -> None:
        self.sent.append((origin, target, message))
        if self.is_open(origin, target, message):
            self.put(target, Received(origin, message), LATENCY_MS)

    # ------------------------------------------------------------------------- what is seen

    def chain(self, index: int) -> list[Hash]:
        """The final blocks of a node, from the first: of its last commit and its ancestors."""
        commits = self.nodes[index].commits
        found: list[Hash] = []
        digest = commits[-1][1].ballot.digest if commits else self.root
        while digest != self.root:
            found.append(digest)
            digest = self.headers[digest].parent_hash
        return found[::-1]

    def heights(self) -> list[int]:
        return [len(self.chain(index)) for index in range(len(self.nodes))]

    def assert_agreement(self) -> None:
        chains = sorted((self.chain(index) for index in range(len(self.nodes))), key=len)
        for shorter, longer in pairwise(chains):
            assert longer[: len(shorter)] == shorter

    def assert_nobody_contradicts_itself(self) -> None:
        for node in self.nodes:
            by_kind: dict[tuple[int, int], Ballot] = {}
            for ballot in node.signed:
                assert by_kind.setdefault((ballot.view, ballot.kind), ballot) == ballot
            for view, kind in by_kind:
                assert kind != Kind.NULLIFY or (view, Kind.FINALIZE) not in by_kind

    def accusations(self) -> list[ReportEquivocation]:
        return [one for node in self.nodes for one in node.convicted]
