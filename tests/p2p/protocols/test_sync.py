"""The planner of block sync in any order of events, and what answers prove."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.protocols.sync import (
    AskBlocks,
    Block,
    BlockPlanner,
    Blocks,
    BlocksRequest,
    EpochEnd,
    StateAnswer,
    StateRange,
    SyncLimits,
    WrongAnswerError,
    check_blocks,
    check_final,
)
from p2p.transport.transport import PeerId
from runtime.codec.scale import DecodeError, codec
from runtime.crypto.keys import KeyKind, Keypair
from runtime.shared.finality import Authority, AuthoritySet, Ballot, Certificate, Kind, payload
from runtime.trie.trie import ordered_root
from runtime.types.primitives import ZERO_HASH, AccountId, Digest, Hash, Header

LIMITS = SyncLimits(
    blocks_per_request=4, ranges_ahead=3, in_flight_per_peer=2, rest_s=1.0, rest_max_s=8.0
)
KEYS = tuple(Keypair.from_uri(f"//{n}", KeyKind.ED25519) for n in range(4))
SET = AuthoritySet(0, ZERO_HASH, tuple(Authority(AccountId(k.account), k.account, 1) for k in KEYS))
GENESIS = Hash(b"\x07" * 32)


def peer(number: int) -> PeerId:
    return PeerId(f"peer {number}")


# ----------------------------------------------------------------------------------- planner


@settings(deadline=None)
@given(st.data())
def test_all_blocks_come_in_order_whatever_goes_wrong(data: st.DataObject) -> None:
    height = data.draw(st.integers(1, 40))
    planner = BlockPlanner(0, LIMITS)
    planner.note_peer(peer(0), height)
    now, flight, steps = 0.0, list[AskBlocks](), 0
    while planner.imported < height:
        steps += 1
        assert steps < 2_000, "no progress"
        now += 1.0
        is_calm = steps > 200
        if not is_calm:
            other = peer(data.draw(st.integers(1, 3)))
            if data.draw(st.booleans()):
                planner.note_peer(other, data.draw(st.integers(0, height)))
            else:
                planner.drop_peer(other)
                flight = [ask for ask in flight if ask.peer != other]
        flight += planner.requests(now)
        for name in {ask.peer for ask in flight}:
            assert sum(ask.peer == name for ask in flight) <= LIMITS.in_flight_per_peer
        assert all(ask.count >= 1 and ask.first + ask.count - 1 <= height for ask in flight)
        if flight:
            ask = flight.pop(0 if is_calm else data.draw(st.integers(0, len(flight) - 1)))
            if is_calm or data.draw(st.booleans()):
                planner.answered(ask, ())
            else:
                planner.failed(ask, now)
        arrived = planner.next_arrived()
        if arrived is not None:
            assert arrived.ask.first <= planner.imported + 1
            last = arrived.ask.first + arrived.ask.count - 1
            if is_calm or data.draw(st.booleans()):
                short = last if is_calm else data.draw(st.integers(arrived.ask.first, last))
                planner.import_done(arrived, short)
                assert planner.imported >= short
            else:
                planner.import_refused(arrived, now)
        if not is_calm and data.draw(st.integers(0, 9)) == 0:
            planner.advance(min(height, planner.imported + data.draw(st.integers(0, 5))))


def test_ranges_are_asked_of_several_peers_ahead_of_the_import() -> None:
    planner = BlockPlanner(10, LIMITS)
    planner.note_peer(peer(1), 100)
    planner.note_peer(peer(2), 16)
    asks = planner.requests(0.0)
    assert [(ask.first, ask.count) for ask in asks] == [(11, 4), (15, 2), (19, 4)]
    assert [ask.peer for ask in asks] == [peer(1), peer(2), peer(1)]
    assert planner.requests(0.0) == []
    planner.answered(asks[2], ())
    assert planner.next_arrived() is None
    planner.answered(asks[0], ())
    arrived = planner.next_arrived()
    assert arrived is not None
    assert arrived.ask == asks[0]


def test_what_a_short_answer_leaves_out_is_asked_for_again() -> None:
    planner = BlockPlanner(0, LIMITS)
    planner.note_peer(peer(1), 4)
    (ask,) = planner.requests(0.0)
    planner.answered(ask, ())
    arrived = planner.next_arrived()
    assert arrived is not None
    planner.import_done(arrived, 3)
    assert [(ask.first, ask.count) for ask in planner.requests(0.0)] == [(4, 1)]


def test_a_peer_that_fails_rests_longer_each_time_and_then_is_not_believed() -> None:
    planner = BlockPlanner(0, LIMITS)
    planner.note_peer(peer(1), 1)
    now = 0.0
    for pause in (1.0, 2.0, 4.0, 8.0, 8.0):
        assert planner.target(now) == 1
        (ask,) = planner.requests(now)
        planner.failed(ask, now)
        assert planner.requests(now + pause - 0.1) == []
        assert planner.wake_at(now) == now + pause
        now += pause
    (ask,) = planner.requests(now)
    planner.failed(ask, now)
    assert planner.target(now) == 0


def test_what_a_peer_that_left_was_asked_is_asked_of_another() -> None:
    planner = BlockPlanner(0, LIMITS)
    planner.note_peer(peer(1), 4)
    (first,) = planner.requests(0.0)
    planner.note_peer(peer(2), 4)
    planner.drop_peer(peer(1))
    (second,) = planner.requests(0.0)
    assert (second.peer, second.first) == (peer(2), first.first)
    planner.answered(first, ())
    assert planner.next_arrived() is None


def test_starting_again_forgets_requests_and_not_peers() -> None:
    planner = BlockPlanner(0, LIMITS)
    planner.note_peer(peer(1), 8)
    assert len(planner.requests(0.0)) == 2
    planner.restart(5)
    assert planner.peers == (peer(1),)
    assert [(ask.first, ask.count) for ask in planner.requests(0.0)] == [(6, 3)]


# ------------------------------------------------------------------------------------- proof


def chain(count: int) -> list[Block]:
    blocks: list[Block] = []
    parent = GENESIS
    for number in range(1, count + 1):
        body = (bytes([number]),)
        header = Header(parent, number, ZERO_HASH, Hash(ordered_root(body)), Digest(()))
        blocks.append(Block(header, body))
        parent = header.hash
    return blocks


def certificate(header: Header, voters: int = 3, kind: Kind = Kind.FINALIZE) -> Certificate:
    ballot = Ballot(0, header.number, kind, header.hash)
    signed = payload(GENESIS, ballot)
    return Certificate(ballot, tuple((n, KEYS[n].sign(signed)) for n in range(voters)))


def justified(block: Block) -> Block:
    return replace(block, justification=codec(Certificate).encode(certificate(block.header)))


def test_an_answer_is_cut_where_its_certificates_are() -> None:
    blocks = chain(6)
    blocks[1], blocks[5] = justified(blocks[1]), justified(blocks[5])
    first, second = check_blocks(1, 6, Blocks(tuple(blocks)))
    assert [block.header.number for block in first.blocks] == [1, 2]
    assert [block.header.number for block in second.blocks] == [3, 4, 5, 6]
    assert second.certified == blocks[5].header


def test_blocks_without_a_certificate_are_proven_by_the_headers_behind_them() -> None:
    blocks = chain(6)
    proof = codec(Certificate).encode(certificate(blocks[5].header))
    trail = tuple(block.header for block in blocks[4:])
    (segment,) = check_blocks(1, 4, Blocks(tuple(blocks[:4]), trail, proof))
    assert segment.certified == blocks[5].header
    for wrong in (
        Blocks(tuple(blocks[:4])),
        Blocks(tuple(blocks[:4]), trail),
        Blocks(tuple(blocks[:4]), (), proof),
        Blocks(tuple(blocks[:4]), trail[1:], proof),
        Blocks(tuple(blocks[:3]), trail, proof),
        Blocks((*blocks[:3], justified(blocks[3])), trail, proof),
    ):
        with pytest.raises(WrongAnswerError):
            check_blocks(1, 4, wrong)


def test_blocks_that_were_not_asked_for_are_refused() -> None:
    blocks = chain(4)
    blocks[3] = justified(blocks[3])
    answer = Blocks(tuple(blocks))
    with pytest.raises(WrongAnswerError, match="instead of 1 to 3"):
        check_blocks(1, 3, answer)
    with pytest.raises(WrongAnswerError, match="the first block"):
        check_blocks(2, 4, answer)
    with pytest.raises(WrongAnswerError):
        check_blocks(1, 4, Blocks(()))


def test_a_certificate_proves_one_header_by_a_quorum_of_its_set() -> None:
    header, other = (block.header for block in chain(2))
    check_final(GENESIS, SET, header, certificate(header))
    for wrong in (
        certificate(other),
        certificate(header, voters=2),
        certificate(header, kind=Kind.NOTARIZE),
    ):
        with pytest.raises(WrongAnswerError):
            check_final(GENESIS, SET, header, wrong)
    with pytest.raises(WrongAnswerError):
        check_final(ZERO_HASH, SET, header, certificate(header))


@pytest.mark.parametrize("message", [Blocks, BlocksRequest, EpochEnd, StateAnswer])
@given(raw=st.binary(max_size=80))
def test_any_bytes_are_a_message_or_a_decode_error(message: type, raw: bytes) -> None:
    try:
        value: Any = codec(message).decode(raw)
    except DecodeError:
        return
    assert codec(message).encode(value) == raw


def test_messages_survive_the_way() -> None:
    blocks = Blocks(tuple(justified(block) for block in chain(2)))
    assert codec(Blocks).decode(codec(Blocks).encode(blocks)) == blocks
    found = StateRange(((b"key", b"value"),), (b"node",))
    assert codec(StateAnswer).decode(codec(StateAnswer).encode(found)) == found
    assert codec(StateAnswer).decode(codec(StateAnswer).encode(None)) is None
