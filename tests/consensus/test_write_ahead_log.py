"""The log is read back whole, cut at a torn tail, and refused where it is damaged."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.write_ahead_log import (
    RECORD_BYTES_MAX,
    BadRecordError,
    Body,
    DamagedLogError,
    Record,
    bodies,
    decode_record,
    encode_record,
    frame,
    intact_prefix,
    read_log,
    still_needed,
    write_log,
)
from runtime.shared.finality import Ballot, Claim, Kind
from runtime.types.primitives import Hash
from tests.consensus.support.network import ROOT, certificate, header_of

logs = st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=6)
HEADER = header_of(ROOT, 1, Claim(0, 7, Hash(bytes(32))))
RECORDS: tuple[Record, ...] = (
    Ballot(0, 3, Kind.FINALIZE, Hash(b"d" * 32)),
    certificate([0, 1, 2], Kind.NULLIFY, 4),
    HEADER,
    Body(HEADER.hash, (b"", b"extrinsic")),
)


@given(logs)
def test_a_whole_log_is_read_back(records: list[bytes]) -> None:
    log = write_log(records)
    assert read_log(log) == (tuple(records), len(log))


@given(logs, st.data())
def test_a_log_torn_at_any_byte_keeps_the_records_before(
    records: list[bytes], data: st.DataObject
) -> None:
    log = write_log(records)
    cut = data.draw(st.integers(0, len(log)))
    found, intact = read_log(log[:cut])
    whole = [write_log(records[:count]) for count in range(len(records) + 1)]
    count = max(index for index, one in enumerate(whole) if len(one) <= cut)
    assert (found, intact) == (tuple(records[:count]), len(whole[count]))


@given(logs, st.data())
def test_a_flipped_bit_is_damage_in_the_middle_and_torn_at_the_end(
    records: list[bytes], data: st.DataObject
) -> None:
    log = bytearray(write_log(records))
    bit = data.draw(st.integers(0, 8 * len(log) - 1))
    log[bit // 8] ^= 1 << bit % 8
    last = len(write_log(records[:-1]))
    if bit // 8 < last:
        with pytest.raises(DamagedLogError, match="intact records follow") as caught:
            read_log(bytes(log))
        kept, intact = intact_prefix(bytes(log))
        assert intact == caught.value.offset
        assert read_log(bytes(log[:intact])) == (kept, intact)
    else:
        assert read_log(bytes(log)) == (tuple(records[:-1]), last)


@given(logs, st.integers(1, 100))
def test_a_tail_of_zeros_is_cut(records: list[bytes], count: int) -> None:
    log = write_log(records)
    assert read_log(log + bytes(count)) == (tuple(records), len(log))


def test_frames_inside_a_torn_record_are_not_records_that_follow() -> None:
    inner = write_log([b"one", b"two"])
    log = bytearray(frame(b"first", 0))
    log += frame(b"x" + inner * 3, len(log))
    log[17 + 3] ^= 1  # the head of the second frame
    assert read_log(bytes(log)) == ((b"first",), 17)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_by_the_one_error(data: bytes) -> None:
    try:
        _, intact = read_log(data)
    except DamagedLogError as error:
        intact = error.offset
    assert 0 <= intact <= len(data)


@pytest.mark.parametrize("record", RECORDS, ids=lambda one: type(one).__name__)
def test_a_record_is_read_back(record: Record) -> None:
    assert decode_record(encode_record(record)) == record


@given(st.one_of(st.binary(max_size=100), st.sampled_from(RECORDS).map(encode_record)), st.data())
def test_a_record_is_read_in_its_one_encoding_or_refused(data: bytes, draw: st.DataObject) -> None:
    if data:
        at = draw.draw(st.integers(0, len(data) - 1))
        data = data[:at] + bytes([draw.draw(st.integers(0, 255))]) + data[at + 1 :]
    try:
        record = decode_record(data)
    except BadRecordError:
        return
    assert encode_record(record) == data


@pytest.mark.parametrize("fields", [[2, 0, b""], [1, 9, b""], [1, 3, b"short"], [1, 0], {1: 2}])
def test_a_record_of_another_version_or_kind_is_refused(fields: object) -> None:
    with pytest.raises(BadRecordError):
        decode_record(msgpack.packb(fields))


@pytest.mark.parametrize("record", [b"", bytes(RECORD_BYTES_MAX + 1)], ids=["empty", "too long"])
def test_the_log_takes_no_record_of_this_size(record: bytes) -> None:
    with pytest.raises(BadRecordError):
        frame(record, 0)


def test_what_is_behind_finality_is_no_longer_needed() -> None:
    digest = Hash(b"d" * 32)
    old = header_of(ROOT, 1, Claim(0, 2, Hash(bytes(32))))
    new = header_of(old.hash, 2, Claim(0, 5, Hash(bytes(32))))
    gone: list[Record] = [
        Ballot(0, 4, Kind.FINALIZE, digest),
        Ballot(0, 5, Kind.FINALIZE, digest),
        certificate([0, 1, 2], Kind.FINALIZE, 4, digest),
        old,
        Body(old.hash, ()),
    ]
    kept: list[Record] = [
        Ballot(0, 6, Kind.NULLIFY, Hash(bytes(32))),
        certificate([0, 1, 2], Kind.FINALIZE, 5, digest),
        Body(new.hash, (b"x",)),
        new,
        Body(Hash(b"z" * 32), ()),
        Ballot(1, 1, Kind.NOTARIZE, digest),
    ]
    records = tuple(encode_record(one) for one in (*gone, *kept))
    needed = still_needed(records, 0, 5)
    assert [decode_record(one) for one in needed] == kept
    assert [body.block for body in bodies(needed)] == [new.hash, Hash(b"z" * 32)]
    assert still_needed(records, 1, 0) == (encode_record(kept[-2]), encode_record(kept[-1]))
