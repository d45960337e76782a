"""The status handshake, by its table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.protocols.reputation import Fault
from p2p.protocols.status import (
    PROTOCOL_VERSION,
    Action,
    Handshake,
    HandshakeStage,
    Leave,
    Nothing,
    Ready,
    Refuse,
    Roles,
    SayWelcome,
    Status,
    Take,
    Updated,
    decode_status,
    encode_status,
)
from p2p.transport.wire import Envelope, MessageKind, WireDecodeError
from runtime.codec.scale import codec
from runtime.types.primitives import Hash

GENESIS = Hash(bytes([1]) * 32)
STATUS = Status(
    version=PROTOCOL_VERSION,
    genesis_hash=GENESIS,
    best_number=9,
    best_hash=GENESIS,
    finalized_number=8,
    finalized_hash=GENESIS,
    roles=Roles.FULL,
    agent="openledger/1",
)


def said(status: Status) -> Envelope:
    return Envelope(MessageKind.STATUS, encode_status(status))


WELCOME = Envelope(MessageKind.WELCOME, b"")
VOTE = Envelope(MessageKind.VOTE, b"yes")
ALIEN = said(replace(STATUS, genesis_hash=Hash(bytes(32))))


def handshake_at(stage: HandshakeStage) -> Handshake:
    handshake = Handshake(GENESIS, 0.0)
    if stage is not HandshakeStage.CONNECTED:
        handshake.step(said(STATUS), 0.0)
    if stage is HandshakeStage.READY:
        handshake.step(WELCOME, 0.0)
    assert handshake.stage is stage
    return handshake


@pytest.mark.parametrize(
    ("stage", "envelope", "action", "after"),
    [
        (HandshakeStage.CONNECTED, said(STATUS), SayWelcome, HandshakeStage.GREETED),
        (HandshakeStage.CONNECTED, ALIEN, Leave, HandshakeStage.CONNECTED),
        (HandshakeStage.CONNECTED, WELCOME, Leave, HandshakeStage.CONNECTED),
        (HandshakeStage.CONNECTED, VOTE, Leave, HandshakeStage.CONNECTED),
        (HandshakeStage.GREETED, said(STATUS), Updated, HandshakeStage.GREETED),
        (HandshakeStage.GREETED, ALIEN, Leave, HandshakeStage.GREETED),
        (HandshakeStage.GREETED, WELCOME, Ready, HandshakeStage.READY),
        (HandshakeStage.GREETED, VOTE, Take, HandshakeStage.GREETED),
        (HandshakeStage.READY, said(STATUS), Updated, HandshakeStage.READY),
        (HandshakeStage.READY, ALIEN, Leave, HandshakeStage.READY),
        (HandshakeStage.READY, WELCOME, Nothing, HandshakeStage.READY),
        (HandshakeStage.READY, VOTE, Take, HandshakeStage.READY),
    ],
)
def test_the_table_holds(
    stage: HandshakeStage, envelope: Envelope, action: type[Action], after: HandshakeStage
) -> None:
    handshake = handshake_at(stage)
    assert isinstance(handshake.step(envelope, 0.0), action)
    assert handshake.stage is after


def test_updates_are_limited() -> None:
    handshake = handshake_at(HandshakeStage.READY)
    actions = [handshake.step(said(STATUS), 0.0) for _ in range(100)]
    assert Refuse(Fault.FLOODING, "too many updates of its status") in actions
    assert isinstance(handshake.step(said(STATUS), 60.0), Updated)


def test_another_version_is_left() -> None:
    action = handshake_at(HandshakeStage.CONNECTED).step(said(replace(STATUS, version=2)), 0.0)
    assert isinstance(action, Leave)
    assert action.fault is Fault.WRONG_VERSION


@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, 255),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=64),
)
def test_a_status_is_read_as_it_was_written(number: int, roles: int, agent: str) -> None:
    status = replace(STATUS, best_number=number, roles=roles, agent=agent)
    assert decode_status(encode_status(status)) == status


@given(st.binary(max_size=200))
def test_garbage_is_no_status(body: bytes) -> None:
    with pytest.raises(WireDecodeError):
        decode_status(body)


@pytest.mark.parametrize("agent", ["a" * 65, "two\nlines", "\x1b[31m"])
def test_an_agent_is_one_short_line(agent: str) -> None:
    with pytest.raises(WireDecodeError):
        decode_status(codec(Status).encode(replace(STATUS, agent=agent)))
