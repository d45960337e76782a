"""The planner of blob downloads in any order of events, and what ranges prove."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.protocols.blob_download import AskChunks, BlobLimits, BlobPlanner
from p2p.protocols.blob_messages import BlobAnswer, BlobRange, BlobRequest, check_range
from p2p.protocols.sync_messages import WrongAnswerError
from p2p.transport.transport import PeerId
from runtime.codec.scale import DecodeError, codec
from runtime.trie.merkle import CHUNK_SIZE, blob_id, chunk_hash, chunk_proof, chunks

DATA = bytes(CHUNK_SIZE) + b"\1" * CHUNK_SIZE + b"end"
LIMITS = BlobLimits(chunks_per_request=3, in_flight=2, rest_s=1.0, failures_max=3)
ONE, TWO = PeerId("one"), PeerId("two")


def part(first: int, count: int) -> BlobRange:
    pieces = chunks(DATA)
    hashes = [chunk_hash(piece) for piece in pieces]
    proven = [(pieces[n], chunk_proof(hashes, n)) for n in range(first, first + count)]
    return BlobRange(len(DATA), tuple(proven))


def test_a_range_proves_its_chunks_and_the_length() -> None:
    request = BlobRequest(blob_id(DATA), 1, 5)
    check_range(request, part(1, 2), 1 << 30)
    check_range(request, part(1, 1), 1 << 30)
    good = part(1, 2)
    for wrong in (
        part(0, 2),
        part(2, 1),
        replace(good, length=good.length + 1),
        replace(good, length=0),
        replace(good, chunks=()),
        replace(good, chunks=good.chunks * 2),
        replace(good, chunks=((b"x", good.chunks[0][1]), good.chunks[1])),
    ):
        with pytest.raises(WrongAnswerError):
            check_range(request, wrong, 1 << 30)
    with pytest.raises(WrongAnswerError, match="longer"):
        check_range(request, good, 100)
    empty = BlobRequest(blob_id(b""), 0, 1)
    check_range(empty, BlobRange(0, ()), 100)


@settings(deadline=None)
@given(st.data())
def test_every_chunk_comes_whatever_goes_wrong(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 20))
    planner = BlobPlanner(LIMITS)
    here: set[int] = set()
    flight: list[AskChunks] = []
    for now in range(500):
        is_calm = now > 60
        present = {PeerId("honest")}
        if not is_calm:
            present |= {PeerId(f"{n}") for n in data.draw(st.sets(st.integers(0, 2)))}
        planner.note_peers(tuple(sorted(present)))
        flight += planner.requests(float(now))
        assert len(flight) <= (LIMITS.in_flight if planner.has_begun else 1)
        if flight:
            ask = flight.pop(data.draw(st.integers(0, len(flight) - 1)))
            if ask.peer == "honest" and ask.first < total:
                count = min(data.draw(st.integers(1, ask.count)), total - ask.first)
                if not planner.has_begun:
                    planner.begin([n for n in range(total) if n not in here])
                here |= set(range(ask.first, ask.first + count))
                planner.answered(ask, count)
            else:
                planner.failed(ask, float(now))
        if planner.is_complete:
            break
    assert here == set(range(total))


def test_only_one_range_is_asked_for_until_the_length_is_proven() -> None:
    planner = BlobPlanner(LIMITS)
    planner.note_peers((ONE, TWO))
    (ask,) = planner.requests(0.0)
    assert planner.requests(0.0) == []
    planner.begin(list(range(9)))
    planner.answered(ask, 3)
    assert [(each.first, each.count) for each in planner.requests(0.0)] == [(3, 3), (6, 3)]


def test_a_peer_that_keeps_failing_is_given_up() -> None:
    planner = BlobPlanner(LIMITS)
    assert planner.is_hopeless
    planner.note_peers((ONE,))
    now = 0.0
    for pause in (1.0, 2.0, 4.0):
        assert not planner.is_hopeless
        (ask,) = planner.requests(now)
        planner.failed(ask, now)
        assert planner.requests(now + pause / 2) == []
        now += pause
    assert planner.requests(now) == []
    assert planner.wake_at(now) is None
    assert planner.is_hopeless


@given(st.binary(max_size=80))
def test_any_bytes_are_a_range_or_a_decode_error(raw: bytes) -> None:
    try:
        value = codec(BlobAnswer).decode(raw)
    except DecodeError:
        return
    assert codec(BlobAnswer).encode(value) == raw
