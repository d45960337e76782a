from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.jobs.frames import (
    FRAME_BYTES_MAX,
    Cancel,
    Failed,
    Frame,
    FrameDecoder,
    FrameRefusedError,
    Hello,
    Job,
    Progress,
    Result,
    Shutdown,
    decode_body,
    encode_frame,
)

whole = st.integers(-1, 2**63)
text = st.text(max_size=40)
data = st.binary(max_size=40)
frames = st.one_of(
    st.builds(Hello, whole, data, data),
    st.builds(Job, whole, data, text, text, data, text, data, data),
    st.builds(Progress, whole, whole, whole, whole, whole),
    st.builds(Result, whole, data, data),
    st.builds(Failed, whole, text, text),
    st.builds(Cancel, whole),
    st.just(Shutdown()),
)


@given(st.lists(frames, max_size=4), st.integers(1, 9))
def test_frames_survive_any_cutting_of_the_stream(sent: list[Frame], size: int) -> None:
    stream = b"".join(map(encode_frame, sent))
    decoder = FrameDecoder()
    pieces = [stream[i : i + size] for i in range(0, len(stream), size)]
    assert [frame for piece in pieces for frame in decoder.feed(piece)] == sent


@given(st.binary(max_size=60))
def test_random_bytes_are_a_frame_or_refused(body: bytes) -> None:
    try:
        frame = decode_body(body)
    except FrameRefusedError:
        return
    assert encode_frame(frame)[4:] == body


def test_a_giant_length_is_refused_before_it_is_waited_for() -> None:
    with pytest.raises(FrameRefusedError, match="exceeds"):
        FrameDecoder().feed((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))


def test_a_frame_that_would_be_too_long_is_not_written() -> None:
    with pytest.raises(FrameRefusedError, match="over"):
        encode_frame(Result(1, bytes(FRAME_BYTES_MAX), b""))


@pytest.mark.parametrize(
    "body", [b"\x91\x63", b"\x90", b"\x92\x06\x01", b"\x92\x05\xc3", b"\x92\xcc\x05\x01", b"\xc1"]
)
def test_odd_frames_are_refused(body: bytes) -> None:
    with pytest.raises(FrameRefusedError):
        decode_body(body)
