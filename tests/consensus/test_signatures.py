"""Signatures: only real ones count, and each is checked once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consensus.signatures import Signatures
from runtime.shared.finality import NO_DIGEST, Ballot, Kind
from runtime.types.primitives import Hash
from tests.consensus.support.network import GENESIS, certificate, set_of, sign, vote

ONE = Hash(b"1" * 32)


@pytest.fixture
def signatures() -> Signatures:
    return Signatures(GENESIS, set_of([1, 1, 1, 1]))


def test_a_signature_is_verified_once_whether_real_or_forged(signatures: Signatures) -> None:
    real = vote(0, Kind.NOTARIZE, 1, ONE)
    forged = replace(real, signature=bytes(64))
    for _ in range(2):
        assert signatures.is_signed(real)
        assert not signatures.is_signed(forged)
    assert signatures.checks == 2


def test_a_signature_counts_only_for_its_voter_and_chain(signatures: Signatures) -> None:
    real = vote(0, Kind.NOTARIZE, 1, ONE)
    assert not signatures.is_signed(replace(real, voter=1))
    assert not signatures.is_signed(replace(real, voter=4))
    assert not signatures.is_signed(sign(0, real.ballot, genesis=ONE))


@pytest.mark.parametrize(
    "ballot",
    [
        Ballot(1, 1, Kind.NOTARIZE, ONE),
        Ballot(0, 0, Kind.NOTARIZE, ONE),
        Ballot(0, 1, Kind.NOTARIZE, NO_DIGEST),
        Ballot(0, 1, Kind.NULLIFY, ONE),
        Ballot(0, 1, Kind.FINALIZE + 1, ONE),
    ],
    ids=["epoch", "view", "no digest", "a digest", "kind"],
)
def test_a_ballot_that_no_authority_could_sign_is_refused(
    signatures: Signatures, ballot: Ballot
) -> None:
    assert not signatures.is_well_formed(ballot)
    assert not signatures.is_signed(sign(0, ballot))


def test_a_quorum_is_more_than_two_thirds() -> None:
    signatures = Signatures(GENESIS, set_of([1, 1, 1]))
    assert not signatures.is_quorum(2)
    assert signatures.is_quorum(3)


def test_a_certificate_has_a_quorum_of_different_voters_in_order(signatures: Signatures) -> None:
    good = certificate([0, 1, 2], Kind.FINALIZE, 1, ONE)
    assert signatures.is_certified(good)
    first, second, third = good.votes
    for votes in ((), (first, second), (first, first, second), (second, first, third)):
        assert not signatures.is_certified(replace(good, votes=votes))
    forged = (first, second, (3, bytes(64)))
    assert not signatures.is_certified(replace(good, votes=forged))
