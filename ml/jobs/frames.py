"""The protocol between node and executor process: length-prefixed msgpack frames, both directions.

A frame is 4 bytes of big-endian length and a msgpack array [kind, field, ...] with fields in the
order of the dataclass. The decoder is sans-IO: feed it bytes as they arrive. It refuses a length
over 8 MiB before it allocates, unknown kinds, wrong types and encodings that the encoder does not
produce. This module imports nothing heavy, so that a node can use it without loading torch.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import Final, TypeAlias

import msgpack

VERSION: Final = 1
FRAME_BYTES_MAX: Final = 8 << 20
LENGTH_BYTES: Final = 4
TEXT_BYTES_MAX: Final = 64 << 10

ROWS_FILE: Final = "rows.scale"
OUTPUTS_FOLDER: Final = "outputs"
"""Names in the folders of a job, frozen: the folders outlive an upgrade of the node."""


class FrameRefusedError(Exception):
    """The bytes are not a frame of this protocol; the stream cannot continue."""


@dataclass(frozen=True, slots=True)
class Hello:
    """First frame of each side; the executor's has its profile id and computed golden hash."""

    version: int
    profile: bytes
    golden: bytes = b""


@dataclass(frozen=True, slots=True)
class Job:
    """Run a job. `spec` is SCALE JobSpec.

    `inputs` is a folder of files named by blob id hex, with rows.scale, or epoch.scale for SETTLE;
    `work` is the job's own folder: checkpoints, and outputs/ with the files of the result.
    EVALUATE and INDEX also need the training job's spec (`train_spec`) and its output (`trained`).
    An empty `base` means the shipped base.
    """

    id: int
    spec: bytes
    inputs: str
    work: str
    seed: bytes
    base: str
    train_spec: bytes
    trained: bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a job; losses in micro-nats per token, -1 for none."""

    id: int
    step: int
    steps: int
    loss_micronats: int
    held_out_micronats: int


@dataclass(frozen=True, slots=True)
class Result:
    """A finished job: SCALE JobOutput, and the blob ids of the files in outputs/, concatenated."""

    id: int
    output: bytes
    files: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """A job that ended without a result: the class name and the message of its exception."""

    id: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop a job after its current step; its checkpoint stays."""

    id: int


@dataclass(frozen=True, slots=True)
class Shutdown:
    """End the process."""


Frame: TypeAlias = Hello | Job | Progress | Result | Failed | Cancel | Shutdown

KINDS: Final[tuple[type[Frame], ...]] = (Hello, Job, Progress, Result, Failed, Cancel, Shutdown)
FIELD_TYPES: Final[dict[str, type]] = {"int": int, "str": str, "bytes": bytes}


def encode_frame(frame: Frame) -> bytes:
    """Return the bytes of a frame with its length before it. Raises FrameRefusedError."""
    body: bytes = msgpack.packb([KINDS.index(type(frame)), *astuple(frame)], use_bin_type=True)
    if len(body) > FRAME_BYTES_MAX:
        raise FrameRefusedError(f"The frame has {len(body)} bytes, over {FRAME_BYTES_MAX}.")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def decode_body(body: bytes) -> Frame:
    """Return the frame of a body without its length. Raises FrameRefusedError."""
    try:
        value: object = msgpack.unpackb(
            body, raw=False, max_array_len=16, max_map_len=0, max_ext_len=0
        )
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise FrameRefusedError(f"The frame is not msgpack: {error}.") from error
    match value:
        case [int(kind), *arguments] if type(kind) is int and 0 <= kind < len(KINDS):
            frame = _frame(KINDS[kind], arguments)
        case _:
            raise FrameRefusedError("The frame is not an array that starts with a known kind.")
    # msgpack has several encodings of one value; the protocol has one.
    if encode_frame(frame)[LENGTH_BYTES:] != body:
        raise FrameRefusedError("The frame is not in its shortest form.")
    return frame


def _frame(kind: type[Frame], arguments: list[object]) -> Frame:
    declared = fields(kind)
    if len(arguments) != len(declared):
        raise FrameRefusedError(
            f"{kind.__name__} has {len(declared)} fields, not {len(arguments)}."
        )
    for field, argument in zip(declared, arguments, strict=True):
        wanted = FIELD_TYPES[str(field.type)]
        # Not isinstance: a bool is an int, and its encoding would not be that of the number.
        if type(argument) is not wanted:
            raise FrameRefusedError(f"{kind.__name__}.{field.name} must be {wanted.__name__}.")
        if isinstance(argument, str) and len(argument.encode()) > TEXT_BYTES_MAX:
            raise FrameRefusedError(f"{kind.__name__}.{field.name} exceeds {TEXT_BYTES_MAX} bytes.")
    return kind(*arguments)  # type: ignore[arg-type]


class FrameDecoder:
    """Decodes a stream of bytes into frames."""

    def __init__(self) -> None:
        """Start at the beginning of a frame."""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames completed by `data`. Raises FrameRefusedError."""
        self._buffer += data
        frames: list[Frame] = []
        while len(self._buffer) >= LENGTH_BYTES:
            length = int.from_bytes(self._buffer[:LENGTH_BYTES], "big")
            if length > FRAME_BYTES_MAX:
                raise FrameRefusedError(f"A frame of {length} bytes exceeds {FRAME_BYTES_MAX}.")
            if len(self._buffer) < LENGTH_BYTES + length:
                break
            body = bytes(self._buffer[LENGTH_BYTES : LENGTH_BYTES + length])
            del self._buffer[: LENGTH_BYTES + length]
            frames.append(decode_body(body))
        return frames
