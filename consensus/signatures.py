"""Signatures: which votes and certificates are real, each signature checked at most once.

Two generations of results make a bounded memory without a list of ages: when the young one is full
it becomes the old one, and the old one is dropped. Good and bad results are held apart, so that a
flood of forged votes displaces no result about a real one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from runtime.crypto.keys import KeyKind, verify
from runtime.shared.finality import (
    NO_DIGEST,
    AuthoritySet,
    Ballot,
    Certificate,
    Kind,
    Vote,
    payload,
)
from runtime.shared.leaders import VIEWS_MAX
from runtime.types.primitives import Hash

REMEMBERED_PER_VOTER: Final = 128
"""Results held for each voter: about 40 views of three kinds."""
REMEMBERED_MIN: Final = 1024
FORGED_MAX: Final = 4096

_Key = tuple[int, bytes, Ballot]


class Signatures:
    """Checks the votes of one epoch's set."""

    def __init__(self, genesis: Hash, authorities: AuthoritySet) -> None:
        self._genesis = genesis
        self._keys = tuple(bytes(authority.key) for authority in authorities.authorities)
        self.epoch = authorities.epoch
        self.weights = tuple(int(authority.weight) for authority in authorities.authorities)
        self._total = authorities.total
        self._good = _Memory(max(REMEMBERED_MIN, REMEMBERED_PER_VOTER * len(self._keys)))
        self._forged = _Memory(FORGED_MAX)
        self.checks = 0
        """How many signatures were verified; for benchmarks and tests."""

    def is_quorum(self, weight: int) -> bool:
        """Return whether a weight is more than two thirds of the total."""
        return 3 * weight > 2 * self._total

    def is_well_formed(self, ballot: Ballot) -> bool:
        """Return whether a ballot is of this epoch and one that an authority could sign."""
        return (
            ballot.epoch == self.epoch
            and ballot.kind <= Kind.FINALIZE
            and 1 <= ballot.view <= VIEWS_MAX
            and (ballot.kind == Kind.NULLIFY) == (ballot.digest == NO_DIGEST)
        )

    def is_signed(self, vote: Vote) -> bool:
        """Return whether a vote is well formed and signed by its voter."""
        return (
            self.is_well_formed(vote.ballot)
            and vote.voter < len(self._keys)
            and self._check(vote.voter, vote.signature, vote.ballot, None)
        )

    def is_certified(self, certificate: Certificate) -> bool:
        """Return whether a certificate is well formed, and a quorum of real signatures."""
        ballot, votes = certificate.ballot, certificate.votes
        if not votes or not self.is_well_formed(ballot) or votes[-1][0] >= len(self._keys):
            return False
        if any(after[0] <= before[0] for before, after in pairwise(votes)):
            return False
        if not self.is_quorum(sum(self.weights[voter] for voter, _ in votes)):
            return False
        message = payload(self._genesis, ballot)
        return all(self._check(voter, signature, ballot, message) for voter, signature in votes)

    def _check(self, voter: int, signature: bytes, ballot: Ballot, message: bytes | None) -> bool:
        key = (voter, signature, ballot)
        if key in self._good:
            return True
        if key in self._forged:
            return False
        if message is None:
            message = payload(self._genesis, ballot)
        self.checks += 1
        is_real = verify(KeyKind.ED25519, signature, message, self._keys[voter])
        (self._good if is_real else self._forged).add(key)
        return is_real


class _Memory:
    """A bounded set of keys that drops the oldest, a generation at a time."""

    def __init__(self, size_max: int) -> None:
        self._half = max(1, size_max // 2)
        self._young: dict[_Key, None] = {}
        self._old: dict[_Key, None] = {}

    def __contains__(self, key: _Key) -> bool:
        return key in self._young or key in self._old

    def add(self, key: _Key) -> None:
        """Remember a key."""
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[key] = None
