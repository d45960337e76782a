"""The chain of a simulation: which blocks are valid, and which validators decide which epoch.

A block's state root is a hash of its parent's and of its body, so an invalid one is easily made
and surely found out. The set after a boundary has the members that the plan names and a seed from
the boundary's parent: two branches have two sets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

from runtime.codec.compact import DecodeError
from runtime.codec.scale import codec
from runtime.shared.finality import (
    ENGINE,
    Authority,
    AuthoritySet,
    BadEvidenceError,
    Boundary,
    Claim,
    Equivocation,
    check_evidence,
    next_set_of,
)
from runtime.types.primitives import (
    AccountId,
    Consensus,
    Digest,
    DigestItem,
    Hash,
    Header,
    PreRuntime,
)
from tests.simulation.signing import key_of

NOTHING: Final = Hash(bytes(32))
GENESIS_HEADER: Final = Header(NOTHING, 0, NOTHING, NOTHING, Digest(()))
GENESIS: Final = GENESIS_HEADER.hash
EVIDENCE: Final = b"evidence"
"""The first bytes of an extrinsic with evidence."""

TIME: Final = b"time"
"""The first bytes of an extrinsic with the time of the block's leader, in milliseconds."""

Body = tuple[bytes, ...]
Members = tuple[tuple[int, int], ...]
"""Identity and weight of each validator of an epoch."""

_claim = codec(Claim)
_boundary = codec(Boundary)
_evidence = codec(Equivocation)


class Ledger:
    """The rules of one simulated chain."""

    def __init__(self, epochs: Sequence[Members], epoch_blocks: int) -> None:
        self.epochs = tuple(epochs)
        self.epoch_blocks = epoch_blocks
        self._sets: dict[tuple[int, bytes], AuthoritySet] = {}

    def members(self, epoch: int) -> Members:
        """Return who decides an epoch; after the last planned one, the members take turns."""
        return self.epochs[epoch % len(self.epochs)]

    def set_after(self, boundary: Header) -> AuthoritySet:
        """Return the set that follows a boundary block, or the genesis."""
        epoch, seed = boundary.number // self.epoch_blocks, boundary.parent_hash
        found = self._sets.get((epoch, seed))
        if found is None:
            members = self.members(epoch)
            found = self._sets[epoch, seed] = AuthoritySet(
                epoch,
                seed,
                tuple(
                    Authority(AccountId(key_of(identity)), key_of(identity), weight)
                    for identity, weight in members
                ),
            )
        return found

    def build(self, parent: Header, claim: Claim, body: Body, *, is_valid: bool = True) -> Header:
        """Return the header of a block on a parent."""
        number = parent.number + 1
        root = _root_of(body)
        state = _state_after(parent, root) if is_valid else Hash(b"\xff" * 32)
        logs: list[DigestItem] = [PreRuntime(ENGINE, _claim.encode(claim))]
        if number % self.epoch_blocks == 0:
            logs.append(Consensus(ENGINE, _boundary.encode(Boundary(self._next(parent, number)))))
        return Header(parent.hash, number, state, root, Digest(tuple(logs)))

    def is_valid(
        self,
        header: Header,
        parent: Header,
        body: Body,
        set_of: Callable[[int], AuthoritySet | None],
    ) -> bool:
        """Execute a block: `set_of` knows the sets of past epochs, for evidence."""
        number = header.number
        if number != parent.number + 1 or header.parent_hash != parent.hash:
            return False
        if header.extrinsics_root != _root_of(body):
            return False
        if header.state_root != _state_after(parent, header.extrinsics_root):
            return False
        ends = number % self.epoch_blocks == 0
        if next_set_of(header) != (self._next(parent, number) if ends else None):
            return False
        return all(
            _convicts(extrinsic, set_of) for extrinsic in body if extrinsic.startswith(EVIDENCE)
        )

    def _next(self, parent: Header, number: int) -> Hash:
        """Return the hash of the set after a boundary block on a parent."""
        boundary = Header(parent.hash, number, NOTHING, NOTHING, Digest(()))
        return self.set_after(boundary).hash


def evidence_in(body: Body) -> Sequence[Equivocation]:
    """Return the evidence in a valid block."""
    return [
        _evidence.decode(extrinsic[len(EVIDENCE) :])
        for extrinsic in body
        if extrinsic.startswith(EVIDENCE)
    ]


def time_extrinsic(now_ms: int) -> bytes:
    """Return the extrinsic that gives a block its time."""
    return TIME + now_ms.to_bytes(8, "little", signed=True)


def time_of(body: Body) -> int | None:
    """Return the time of a block in milliseconds, None where it has none."""
    if not body or not body[0].startswith(TIME):
        return None
    return int.from_bytes(body[0][len(TIME) :], "little", signed=True)


def accusation(evidence: Equivocation) -> bytes:
    """Return the extrinsic that convicts."""
    return EVIDENCE + _evidence.encode(evidence)


def _convicts(extrinsic: bytes, set_of: Callable[[int], AuthoritySet | None]) -> bool:
    try:
        evidence = _evidence.decode(extrinsic[len(EVIDENCE) :])
        authorities = set_of(evidence.first.ballot.epoch)
        if authorities is None:
            return False
        check_evidence(GENESIS, authorities, evidence)
    except (DecodeError, BadEvidenceError):
        return False
    return True


def _root_of(body: Body) -> Hash:
    digest = blake2b(digest_size=32)
    for extrinsic in body:
        digest.update(len(extrinsic).to_bytes(4, "little") + extrinsic)
    return Hash(digest.digest())


def _state_after(parent: Header, root: Hash) -> Hash:
    return Hash(blake2b(parent.state_root + root, digest_size=32).digest())
