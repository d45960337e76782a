"""Blocks whose bodies do not arrive: what consensus needs is tried again, however long it takes."""

from __future__ import annotations

from consensus.messages import BlockExecuted, BlockFinalized, BlockUnavailable, Execute, Persist
from consensus.settings import EngineSettings
from runtime.shared.finality import Kind
from tests.consensus.support.network import certificate
from tests.consensus.support.single_engine import (
    BLOCK,
    FIRST,
    NOTARIZATION,
    SECOND,
    SKIP,
    SKIPPING,
    actions_of,
    ballots,
    engine_of,
    other_than,
    receive,
    run_valid,
    started,
)

PAUSES_MS = [1000, 2000, 4000, 8000, 8000, 8000]


def test_a_certified_block_is_tried_until_it_is_there_with_growing_pauses() -> None:
    engine = started(other_than(1, 2))
    receive(engine, FIRST)
    receive(engine, NOTARIZATION)
    for pause_ms in PAUSES_MS:
        assert engine.step(BlockUnavailable(BLOCK)) == [Execute(FIRST.header, 9, pause_ms)]
    for _ in range(200):
        assert engine.step(BlockUnavailable(BLOCK)) == [Execute(FIRST.header, 9, PAUSES_MS[-1])]
    receive(engine, SECOND)
    executed = engine.step(BlockExecuted(BLOCK, True))
    assert actions_of(Execute, executed) == [Execute(SECOND.header, 9)]


def test_a_proposal_is_tried_again_while_its_view_lasts_and_then_when_it_is_certified() -> None:
    engine = started(other_than(1, 2))
    receive(engine, FIRST)
    assert engine.step(BlockUnavailable(BLOCK)) == [Execute(FIRST.header, 9, 1000)]
    receive(engine, SKIP)
    assert engine.step(BlockUnavailable(BLOCK)) == [], "nobody needs a block that was skipped"
    actions = receive(engine, NOTARIZATION)
    assert actions_of(Execute, actions) == [Execute(FIRST.header, 9)]


def test_a_certified_block_is_tried_beside_a_higher_certificate_of_another_branch() -> None:
    """The next leader may build on either of them."""
    engine = started(other_than(1, 2))
    receive(engine, FIRST)
    receive(engine, NOTARIZATION)
    run_valid(engine, SKIPPING)
    receive(engine, certificate([0, 1, 2], Kind.NOTARIZE, 2, SKIPPING.header.hash))
    assert actions_of(Execute, engine.step(BlockUnavailable(BLOCK)))


def test_a_block_that_came_by_synchronization_is_not_tried_again() -> None:
    engine = started(other_than(1, 2))
    receive(engine, FIRST)
    receive(engine, NOTARIZATION)
    engine.step(BlockFinalized(FIRST.header))
    assert engine.step(BlockUnavailable(BLOCK)) == []


def test_after_a_restart_a_certified_block_is_requested_and_tried_as_before() -> None:
    me = other_than(1, 2)
    engine = started(me)
    log = [
        action.record
        for message in (FIRST, NOTARIZATION)
        for action in actions_of(Persist, receive(engine, message))
    ]
    again = started(me, tuple(log))
    assert actions_of(Execute, receive(again, FIRST)) == [Execute(FIRST.header, 9)]
    for pause_ms in PAUSES_MS:
        assert again.step(BlockUnavailable(BLOCK)) == [Execute(FIRST.header, 9, pause_ms)]
    assert actions_of(Persist, again.step(BlockExecuted(BLOCK, True)))


def test_an_answer_about_a_block_that_nobody_executes_does_nothing() -> None:
    engine = started(other_than(1, 2))
    assert engine.step(BlockUnavailable(BLOCK)) == []
    run_valid(engine, FIRST)
    assert engine.step(BlockUnavailable(BLOCK)) == []
    assert not ballots(engine_of(None).step(BlockUnavailable(BLOCK)))


def test_pauses_are_counted_in_the_bound_of_the_network() -> None:
    assert [EngineSettings(100).pause_ms(failures) for failures in (1, 2, 3, 4, 99)] == [
        100,
        200,
        400,
        800,
        800,
    ]
