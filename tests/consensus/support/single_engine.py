"""One engine under test: how it is started, fed and read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from consensus.engine import Engine
from consensus.messages import (
    Action,
    BlockExecuted,
    Message,
    Persist,
    Proposal,
    Received,
    Sign,
    Start,
    TimedOut,
    Timer,
    TimerKind,
)
from consensus.settings import EngineSettings
from consensus.write_ahead_log import decode_record
from runtime.shared.finality import Ballot, Kind
from runtime.shared.leaders import schedule_of
from runtime.types.primitives import Hash
from tests.consensus.support.network import (
    GENESIS,
    ROOT,
    certificate,
    proposal_of,
    set_of,
)

SET = set_of([1, 1, 1, 1])
LEADER = schedule_of(SET).leader
FIRST = proposal_of(SET, 1)
BLOCK = FIRST.header.hash
SKIP = certificate([0, 1, 2], Kind.NULLIFY, 1)
NOTARIZATION = certificate([0, 1, 2], Kind.NOTARIZE, 1, BLOCK)
SECOND = proposal_of(SET, 2, NOTARIZATION, number=2)
SKIPPING = proposal_of(SET, 2, None, (SKIP,))
A = TypeVar("A")


def other_than(*views: int) -> int:
    """A voter that leads none of these views."""
    leaders = [LEADER(view) for view in views]
    return next(voter for voter in range(4) if voter not in leaders)


def engine_of(me: int | None, last_number: int = 100) -> Engine:
    return Engine(
        genesis=GENESIS,
        authorities=SET,
        me=me,
        root=ROOT,
        last_number=last_number,
        settings=EngineSettings(delay_ms=1000),
    )


def started(me: int | None, records: tuple[bytes, ...] = (), last_number: int = 100) -> Engine:
    engine = engine_of(me, last_number)
    engine.step(Start(records))
    return engine


def actions_of(kind: type[A], actions: Sequence[Action]) -> list[A]:
    return [action for action in actions if isinstance(action, kind)]


def receive(engine: Engine, message: Message, source: int = 9) -> list[Action]:
    return engine.step(Received(source, message))


def ballots(actions: Sequence[Action]) -> list[tuple[int, int, Hash]]:
    """What an engine wants to sign; each is durable before."""
    found = [
        (one.ballot.kind, one.ballot.view, one.ballot.digest) for one in actions_of(Sign, actions)
    ]
    records = [decode_record(one.record) for one in actions_of(Persist, actions)]
    for kind, view, digest in found:
        assert Ballot(0, view, kind, digest) in records
    return found


def time_out(engine: Engine, kind: TimerKind, view: int | None = None) -> list[Action]:
    return engine.step(TimedOut(Timer(engine.view if view is None else view, kind)))


def run_valid(engine: Engine, proposal: Proposal) -> list[Action]:
    """Receive a proposal and execute its block."""
    return [*receive(engine, proposal), *engine.step(BlockExecuted(proposal.header.hash, True))]
