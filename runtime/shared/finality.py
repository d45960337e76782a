"""Finality: the words that consensus, pallets and light clients share, and what proves an offence.

An authority signs *votes*: `DOMAIN ++ genesis hash ++ SCALE(Ballot)`. Votes of more than two
thirds of the weight over one ballot are a *certificate*; one of kind FINALIZE is a block's
justification. What is here is arithmetic and hashes: who votes when is `consensus/`, who is in
the set is the pallet Session, what an offence costs is the pallet Offences.

Two pairs of ballots of one view by one voter are an offence, and nothing else is: two different
digests of one kind (NOTARIZE or FINALIZE), and FINALIZE together with NULLIFY.

Source: Chan and Pass, "Simplex Consensus" (2023), in the form of commonware-consensus `simplex`.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from itertools import pairwise
from typing import Final

from runtime.codec.compact import DecodeError
from runtime.codec.scale import Bytes32, Bytes64, codec, scale, u8, u16, u64, u128
from runtime.crypto.hashing import blake2b_256
from runtime.crypto.keys import KeyKind, verify
from runtime.types.primitives import AccountId, Consensus, Hash, Header, PreRuntime

ENGINE: Final = b"SMPX"
"""The consensus engine id of digests and justifications."""
DOMAIN: Final = b"openledger/vote/1"
AUTHORITIES_MAX: Final = 1024
NO_DIGEST: Final = Hash(bytes(32))
"""The digest of a NULLIFY ballot."""


class Kind(IntEnum):
    """The kinds of votes on a view."""

    NOTARIZE = 0
    NULLIFY = 1
    FINALIZE = 2


class BadCertificateError(ValueError):
    """The certificate proves nothing; the message says why."""


class BadEvidenceError(ValueError):
    """The two votes prove no offence; the message says why."""


@scale
class Authority:
    """A validator in a set: its stash, its ed25519 session key, its weight (stake in planck)."""

    account: AccountId
    key: Bytes32
    weight: u128


@scale
class AuthoritySet:
    """The validators of one epoch, in order; a voter is named by its index."""

    epoch: u64
    seed: Hash
    authorities: tuple[Authority, ...]

    @property
    def hash(self) -> Hash:
        """blake2b-256 of the SCALE of the set: what a boundary header commits to."""
        return _set_hash(self)

    @property
    def total(self) -> int:
        """The weight of all authorities."""
        return sum(authority.weight for authority in self.authorities)

    def is_quorum(self, weight: int) -> bool:
        """Return whether a weight is more than two thirds of the total."""
        return 3 * weight > 2 * self.total

    def index_of(self, key: bytes) -> int | None:
        """Return the index of the authority with this session key."""
        return next(
            (i for i, authority in enumerate(self.authorities) if authority.key == key), None
        )


@scale
class Ballot:
    """The subject of a vote: `kind` is a Kind, `digest` a block hash (NULLIFY: NO_DIGEST)."""

    epoch: u64
    view: u64
    kind: u8
    digest: Hash


@scale
class Vote:
    """A signed ballot. `voter` is the index in the epoch's set."""

    ballot: Ballot
    voter: u16
    signature: Bytes64


@scale
class Certificate:
    """One ballot with the signatures of a quorum, by ascending voter."""

    ballot: Ballot
    votes: tuple[tuple[u16, Bytes64], ...]


@scale
class Claim:
    """The claim that a leader writes into its header (PreRuntime item of ENGINE).

    `skips` is `skips_hash` of the NULLIFICATION certificates of all views between the parent's
    view and this one; NO_DIGEST where there is none.
    """

    epoch: u64
    view: u64
    skips: Hash


@scale
class Boundary:
    """The hash of the next set, in the last block of an epoch (Consensus item of ENGINE)."""

    next_set: Hash


@scale
class Equivocation:
    """Evidence: two votes of one voter that exclude each other."""

    first: Vote
    second: Vote


def payload(genesis: Hash, ballot: Ballot) -> bytes:
    """Return the bytes that a voter signs."""
    return DOMAIN + genesis + codec(Ballot).encode(ballot)


def is_signed(genesis: Hash, authorities: AuthoritySet, vote: Vote) -> bool:
    """Return whether a vote is of this epoch, well formed, and signed by its voter."""
    ballot = vote.ballot
    return (
        ballot.epoch == authorities.epoch
        and ballot.kind <= Kind.FINALIZE
        and (ballot.kind == Kind.NULLIFY) == (ballot.digest == NO_DIGEST)
        and vote.voter < len(authorities.authorities)
        and verify(
            KeyKind.ED25519,
            vote.signature,
            payload(genesis, ballot),
            authorities.authorities[vote.voter].key,
        )
    )


def check_certificate(genesis: Hash, authorities: AuthoritySet, certificate: Certificate) -> None:
    """Check every signature and the quorum. Raises BadCertificateError."""
    ballot = certificate.ballot
    voters = [voter for voter, _ in certificate.votes]
    if any(after <= before for before, after in pairwise(voters)):
        raise BadCertificateError("its voters are not in ascending order, each once")
    if voters and voters[-1] >= len(authorities.authorities):
        raise BadCertificateError(f"voter {voters[-1]} is not in the set of {ballot.epoch}")
    weight = sum(authorities.authorities[voter].weight for voter in voters)
    if not authorities.is_quorum(weight):
        raise BadCertificateError(f"weight {weight} of {authorities.total} is no quorum")
    for voter, signature in certificate.votes:
        if not is_signed(genesis, authorities, Vote(ballot, voter, signature)):
            raise BadCertificateError(f"the signature of voter {voter} is not valid")


def skips_hash(skips: tuple[Certificate, ...]) -> Hash:
    """Return the commitment to the NULLIFICATION certificates of skipped views, by view."""
    if not skips:
        return NO_DIGEST
    return Hash(blake2b_256(codec(tuple[Certificate, ...]).encode(skips)))


def conflict(first: Ballot, second: Ballot) -> bool:
    """Return whether two ballots conflict: an honest voter never signs both."""
    if (first.epoch, first.view) != (second.epoch, second.view):
        return False
    if first.kind == second.kind:
        return first.digest != second.digest
    return {first.kind, second.kind} == {Kind.NULLIFY, Kind.FINALIZE}


def check_evidence(genesis: Hash, authorities: AuthoritySet, evidence: Equivocation) -> None:
    """Check that two votes convict their voter. Raises BadEvidenceError."""
    first, second = evidence.first, evidence.second
    if first.voter != second.voter:
        raise BadEvidenceError("the votes are of two voters")
    if not conflict(first.ballot, second.ballot):
        raise BadEvidenceError("the votes do not exclude each other")
    for vote in (first, second):
        if not is_signed(genesis, authorities, vote):
            raise BadEvidenceError("a signature is not valid")


def claim_of(header: Header) -> Claim | None:
    """Return the leader's claim in a header; None where there is none or it cannot be read."""
    for item in header.digest.logs:
        if isinstance(item, PreRuntime) and item.engine == ENGINE:
            try:
                return codec(Claim).decode(item.payload)
            except DecodeError:
                return None
    return None


def next_set_of(header: Header) -> Hash | None:
    """Return the hash of the next epoch's set, which the last block of an epoch carries."""
    for item in header.digest.logs:
        if isinstance(item, Consensus) and item.engine == ENGINE:
            try:
                return codec(Boundary).decode(item.payload).next_set
            except DecodeError:
                return None
    return None


@lru_cache(maxsize=16)
def _set_hash(authorities: AuthoritySet) -> Hash:
    return Hash(blake2b_256(codec(AuthoritySet).encode(authorities)))
