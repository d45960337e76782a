"""The format of the write-ahead log: what a validator must still know after it was killed.

A log is a row of frames: `u32 length ++ u32 check ++ u32 crc ++ record`, little-endian. `check`
is the CRC-32C of the frame's offset in the log (u64) and its length, `crc` that of the record. A
record is msgpack [VERSION, kind, SCALE bytes]. This file knows only bytes; the file, its syncs and
its repair are the caller's.

- A process that dies while it writes leaves part of its last frame: a **torn tail**, which is cut.
- A frame that is bad while an intact one follows is **damage**: the log may have lost votes, so
  reading fails. The check with the offset is why a transaction's bytes inside a
  torn record never pass for a frame that follows, and why a long tail is searched quickly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

import google_crc32c
import msgpack

from runtime.codec.compact import DecodeError, EncodeError
from runtime.codec.scale import codec
from runtime.errors import ExitCode, OpenLedgerError
from runtime.shared.finality import Ballot, Certificate, claim_of
from runtime.types.primitives import Hash, Header

VERSION: Final = 1
RECORD_BYTES_MAX: Final = 16 << 20
"""More than a block's body with its frame."""

_HEAD: Final = Struct("<III")
_PLACE: Final = Struct("<QI")


class RecordKind(IntEnum):
    """The content of a record."""

    BALLOT = 0
    CERTIFICATE = 1
    HEADER = 2
    BODY = 3


@dataclass(frozen=True, slots=True)
class Body:
    """The extrinsics of a block, which the caller writes before it sends BlockExecuted."""

    block: Hash
    extrinsics: tuple[bytes, ...]


Record = Ballot | Certificate | Header | Body


class BadRecordError(ValueError):
    """A record that this version did not write; the message says why."""


class DamagedLogError(OpenLedgerError):
    """The log is damaged before its end; votes may be lost.

    `offset` is where the damage begins, `following` where the next intact record does.
    """

    exit_code = ExitCode.DATA

    def __init__(self, offset: int, following: int, remedy: str = "") -> None:
        super().__init__(
            f"The write-ahead log is damaged at byte {offset}: intact records follow at byte"
            f" {following}, so this is no crash while writing but a fault of the disk or a change"
            f" by hand, and votes may be lost.{remedy}"
        )
        self.offset = offset
        self.following = following


# ----------------------------------------------------------------------------------- records


def encode_record(record: Record) -> bytes:
    """Return the bytes of a record, without its frame."""
    if isinstance(record, Ballot):
        return _pack(RecordKind.BALLOT, codec(Ballot).encode(record))
    if isinstance(record, Certificate):
        return _pack(RecordKind.CERTIFICATE, codec(Certificate).encode(record))
    if isinstance(record, Header):
        return _pack(RecordKind.HEADER, codec(Header).encode(record))
    return _pack(RecordKind.BODY, record.block + codec(tuple[bytes, ...]).encode(record.extrinsics))


def decode_record(data: bytes) -> Record:
    """Read a record. Raises BadRecordError."""
    try:
        fields = msgpack.unpackb(data, use_list=False, strict_map_key=True)
    except (ValueError, msgpack.UnpackException) as error:
        raise BadRecordError(f"A record of the log is no msgpack: {error}.") from error
    if not (
        isinstance(fields, tuple)
        and len(fields) == 3
        and type(fields[0]) is int
        and type(fields[1]) is int
        and isinstance(fields[2], bytes)
    ):
        raise BadRecordError("A record of the log is not [version, kind, bytes].")
    version, kind, content = fields
    if version != VERSION:
        raise BadRecordError(
            f"A record of the log has version {version}, this program reads {VERSION}."
            " Start the program that wrote it, or move the log away."
        )
    try:
        record = _decode_content(kind, content)
        is_canonical = encode_record(record) == data
    except (DecodeError, EncodeError) as error:
        raise BadRecordError(f"A record of kind {kind} cannot be read: {error}.") from error
    if not is_canonical:
        raise BadRecordError("A record of the log is not in its one encoding.")
    return record


def _decode_content(kind: int, content: bytes) -> Record:
    if kind == RecordKind.BALLOT:
        return codec(Ballot).decode(content)
    if kind == RecordKind.CERTIFICATE:
        return codec(Certificate).decode(content)
    if kind == RecordKind.HEADER:
        return codec(Header).decode(content)
    if kind == RecordKind.BODY:
        if len(content) < 32:
            raise BadRecordError("A record of a body is shorter than its block's hash.")
        return Body(Hash(content[:32]), codec(tuple[bytes, ...]).decode(content[32:]))
    raise BadRecordError(f"A record of the log has the unknown kind {kind}.")


def _pack(kind: RecordKind, content: bytes) -> bytes:
    packed: bytes = msgpack.packb([VERSION, int(kind), content])
    return packed


# ------------------------------------------------------------------------------------ frames


def frame(record: bytes, offset: int) -> bytes:
    """Return the frame to append to a log of `offset` bytes. Records have 1..RECORD_BYTES_MAX."""
    if not 0 < len(record) <= RECORD_BYTES_MAX:
        raise BadRecordError(
            f"A record has {len(record)} bytes; the log takes 1 to {RECORD_BYTES_MAX}."
        )
    check = google_crc32c.value(_PLACE.pack(offset, len(record)))
    return _HEAD.pack(len(record), check, google_crc32c.value(record)) + record


def write_log(records: Sequence[bytes]) -> bytes:
    """Return a whole log of these records."""
    log = bytearray()
    for record in records:
        log += frame(record, len(log))
    return bytes(log)


def read_log(data: bytes) -> tuple[tuple[bytes, ...], int]:
    """Return the records and the length that is intact: cut the file to it before appending.

    Raises DamagedLogError where an intact record follows a bad one.
    """
    records, intact = intact_prefix(data)
    if intact < len(data) and not _is_torn(data, intact):
        for offset in range(intact + 1, len(data) - _HEAD.size):
            if _record_at(data, offset) is not None:
                raise DamagedLogError(intact, offset)
    return records, intact


def intact_prefix(data: bytes) -> tuple[tuple[bytes, ...], int]:
    """Return the records before the first bad frame, and their length with their frames."""
    records: list[bytes] = []
    offset = 0
    while (record := _record_at(data, offset)) is not None:
        records.append(record)
        offset += _HEAD.size + len(record)
    return tuple(records), offset


def _length_at(data: bytes, offset: int) -> int | None:
    """Return the length in the frame's head if the head is intact, whatever follows it."""
    if offset + _HEAD.size > len(data):
        return None
    length, check, _ = _HEAD.unpack_from(data, offset)
    if not 0 < length <= RECORD_BYTES_MAX:
        return None
    is_intact = google_crc32c.value(_PLACE.pack(offset, length)) == check
    return int(length) if is_intact else None


def _record_at(data: bytes, offset: int) -> bytes | None:
    length = _length_at(data, offset)
    if length is None:
        return None
    start = offset + _HEAD.size
    record = data[start : start + length]
    if len(record) < length or google_crc32c.value(record) != _HEAD.unpack_from(data, offset)[2]:
        return None
    return record


def _is_torn(data: bytes, offset: int) -> bool:
    """Return whether an intact head announces more bytes than there are: nothing can follow."""
    length = _length_at(data, offset)
    return length is not None and offset + _HEAD.size + length > len(data)


# ------------------------------------------------------------------------------------- needs


def still_needed(records: Sequence[bytes], epoch: int, final_view: int) -> tuple[bytes, ...]:
    """Return the records to keep once the chain has durably finalized `final_view` of `epoch`.

    Kept, in order: own ballots of later views, certificates of that view and later, and the headers
    and bodies of blocks first proposed then. Pass a new epoch and view 0 when an epoch is over.
    """
    decoded = [(record, decode_record(record)) for record in records]
    headers = {
        content.hash: _is_recent(content, epoch, final_view)
        for _, content in decoded
        if isinstance(content, Header)
    }
    return tuple(
        record for record, content in decoded if _is_needed(content, epoch, final_view, headers)
    )


def bodies(records: Sequence[bytes]) -> Iterator[Body]:
    """Return the bodies in a log, oldest first."""
    for record in records:
        content = decode_record(record)
        if isinstance(content, Body):
            yield content


def _is_needed(content: Record, epoch: int, final_view: int, headers: dict[Hash, bool]) -> bool:
    if isinstance(content, Ballot):
        return content.epoch > epoch or (content.epoch == epoch and content.view > final_view)
    if isinstance(content, Certificate):
        ballot = content.ballot
        return ballot.epoch > epoch or (ballot.epoch == epoch and ballot.view >= final_view)
    if isinstance(content, Header):
        return headers[content.hash]
    # A body is written before its header: without one its block is about to be voted for.
    return headers.get(content.block, True)


def _is_recent(header: Header, epoch: int, final_view: int) -> bool:
    claim = claim_of(header)
    return claim is not None and (
        claim.epoch > epoch or (claim.epoch == epoch and claim.view >= final_view)
    )
