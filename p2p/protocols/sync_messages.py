"""The messages of synchronization, and the proof that an answer carries.

Blocks, ends of epochs and ranges of state are requested and answered with these types. Every answer
of blocks proves itself: it ends in a block with a FINALIZE certificate, or is followed by the
headers up to one (`trail`). So nothing is executed that is not final. The requests are planned
by `block_download.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from runtime.codec.scale import DecodeError, codec, scale, u16, u32, u64
from runtime.shared.finality import (
    AuthoritySet,
    BadCertificateError,
    Certificate,
    Kind,
    check_certificate,
)
from runtime.trie.trie import ordered_root
from runtime.types.primitives import Hash, Header

BLOCKS_MAX: Final = 256
"""Blocks of one answer."""
TRAIL_MAX: Final = 1024
"""Headers behind the last block of an answer: finality never lags by more blocks."""
EPOCHS_MAX: Final = 64
"""Epochs of one answer."""
STATE_BYTES_MAX: Final = 2 << 20
"""Bytes of values in one answer; a larger value comes in an answer of its own."""

# ---------------------------------------------------------------------------------- messages


@scale
class BlocksRequest:
    """Asks for finalized blocks from `first` on; or, with `last`, for the newest down to `first`.

    With `last` the answer ends in that block, final or not, and has no trail.
    """

    first: u64
    count: u16
    last: Hash | None = None


@scale
class Block:
    """A block; its justification is the SCALE of a FINALIZE certificate."""

    header: Header
    extrinsics: tuple[bytes, ...]
    justification: bytes | None = None


@scale
class Blocks:
    """Consecutive blocks; none if the peer does not have them.

    `trail` is the headers from behind the last block to the next one with a justification, which
    is then `proof`; both are empty when the last block has its own.
    """

    blocks: tuple[Block, ...]
    trail: tuple[Header, ...] = ()
    proof: bytes = b""


@scale
class EpochsRequest:
    """Asks for the ends of the epochs from `first` on."""

    first: u64
    count: u16


@scale
class EpochEnd:
    """The last header of an epoch, its FINALIZE certificate, and the set of the next epoch."""

    header: Header
    certificate: Certificate
    next_set: AuthoritySet


@scale
class StateRequest:
    """Asks for the keys from `start` on in the state after a block, about `size` bytes of them."""

    block: Hash
    start: bytes
    size: u32


@scale
class StateRange:
    """Consecutive keys with their values, and the proof (runtime/trie/range_proof.py)."""

    pairs: tuple[tuple[bytes, bytes], ...]
    proof: tuple[bytes, ...]


Epochs = tuple[EpochEnd, ...]
"""The answer to EpochsRequest; shorter than asked at the newest epoch."""
StateAnswer = StateRange | None
"""The answer to StateRequest; None where the peer no longer has that state."""

# ------------------------------------------------------------------------------------- proof


class WrongAnswerError(ValueError):
    """No honest peer sends this answer; the message says why."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Blocks that one certificate proves: it is for the last header of `trail`, or of `blocks`."""

    blocks: tuple[Block, ...]
    trail: tuple[Header, ...]
    certificate: Certificate

    @property
    def certified(self) -> Header:
        """The header that the certificate is for."""
        return self.trail[-1] if self.trail else self.blocks[-1].header


def check_blocks(first: int, count: int, answer: Blocks) -> tuple[Segment, ...]:
    """Check that an answer holds together, and cut it where its certificates are.

    The caller still checks that the first block follows a known one, and each certificate with
    `check_final`. Raises WrongAnswerError.
    """
    blocks = answer.blocks
    if not blocks or len(blocks) > count:
        raise WrongAnswerError(f"{len(blocks)} blocks came instead of 1 to {count}")
    headers = [block.header for block in blocks]
    if headers[0].number != first:
        raise WrongAnswerError(f"the first block is {headers[0].number} instead of {first}")
    check_links([*headers, *answer.trail])
    for block in blocks:
        check_body(block.header, block.extrinsics)
    return tuple(_segments(answer))


def check_links(headers: Sequence[Header]) -> None:
    """Check that each header follows the one before. Raises WrongAnswerError."""
    for parent, header in pairwise(headers):
        if header.number != parent.number + 1 or header.parent_hash != parent.hash:
            raise WrongAnswerError(f"block {header.number} does not follow {parent.number}")


def check_body(header: Header, extrinsics: Sequence[bytes]) -> None:
    """Check that extrinsics are those of a header. Raises WrongAnswerError."""
    if ordered_root(extrinsics) != header.extrinsics_root:
        raise WrongAnswerError(f"the body of block {header.number} is of another block")


def check_final(
    genesis: Hash, authorities: AuthoritySet, header: Header, certificate: Certificate
) -> None:
    """Check that a certificate of a set makes a header final. Raises WrongAnswerError."""
    ballot = certificate.ballot
    if ballot.kind != Kind.FINALIZE or ballot.digest != header.hash:
        raise WrongAnswerError(f"the certificate of block {header.number} is for something else")
    try:
        check_certificate(genesis, authorities, certificate)
    except BadCertificateError as error:
        raise WrongAnswerError(
            f"the certificate of block {header.number} is not valid: {error}"
        ) from error


def _segments(answer: Blocks) -> Iterator[Segment]:
    start = 0
    for index, block in enumerate(answer.blocks):
        if block.justification is not None:
            certificate = read_certificate(block.justification)
            yield Segment(answer.blocks[start : index + 1], (), certificate)
            start = index + 1
    rest = answer.blocks[start:]
    if bool(rest) != bool(answer.trail) or bool(rest) != bool(answer.proof):
        raise WrongAnswerError("the last blocks are not proven, or more is proven than came")
    if rest:
        yield Segment(rest, answer.trail, read_certificate(answer.proof))


def read_certificate(justification: bytes) -> Certificate:
    """Return the certificate in a justification. Raises WrongAnswerError."""
    try:
        return codec(Certificate).decode(justification)
    except DecodeError as error:
        raise WrongAnswerError(f"a justification cannot be read: {error}") from error
