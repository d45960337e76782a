"""The light client follows true proofs and refuses each kind of false one by its own error."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consensus.light import (
    EpochProof,
    ForgedCertificateError,
    LightClient,
    NotFinalError,
    WrongBlockError,
    WrongBoundaryError,
    WrongEpochError,
    WrongSetError,
)
from runtime.codec.scale import codec
from runtime.shared.finality import ENGINE, AuthoritySet, Boundary, Kind
from runtime.types.primitives import Consensus, Digest, Hash, Header
from tests.consensus.support.network import GENESIS, certificate, header_of, set_of

LENGTH = 10


def boundary(number: int, next_set: AuthoritySet) -> Header:
    item = Consensus(ENGINE, codec(Boundary).encode(Boundary(next_set.hash)))
    return replace(header_of(Hash(bytes(32)), number, None), digest=Digest((item,)))


def proof(epoch: int = 0, number: int = LENGTH) -> EpochProof:
    next_set = set_of([2, 1, 1, 1], epoch + 1)
    header = boundary(number, next_set)
    return EpochProof(
        header, certificate([0, 1, 2], Kind.FINALIZE, 9, header.hash, epoch), next_set
    )


@pytest.fixture
def client() -> LightClient:
    return LightClient(GENESIS, set_of([1, 1, 1, 1]), LENGTH)


def test_a_client_follows_the_sets_epoch_by_epoch(client: LightClient) -> None:
    for epoch in range(3):
        client.follow(proof(epoch, (epoch + 1) * LENGTH))
    assert client.epoch == 3
    assert client.boundary is not None
    assert client.boundary.number == 3 * LENGTH


def test_a_block_of_the_current_epoch_is_verified(client: LightClient) -> None:
    header = header_of(Hash(bytes(32)), 3, None)
    client.verify(header, certificate([1, 2, 3], Kind.FINALIZE, 3, header.hash))


def test_a_certificate_of_another_block_is_refused(client: LightClient) -> None:
    header = header_of(Hash(bytes(32)), 3, None)
    with pytest.raises(WrongBlockError, match="another block"):
        client.verify(header, certificate([1, 2, 3], Kind.FINALIZE, 3, Hash(b"x" * 32)))


def test_a_notarization_finalizes_nothing(client: LightClient) -> None:
    header = header_of(Hash(bytes(32)), 3, None)
    with pytest.raises(NotFinalError):
        client.verify(header, certificate([1, 2, 3], Kind.NOTARIZE, 3, header.hash))


@pytest.mark.parametrize(("number", "epoch"), [(LENGTH + 1, 0), (0, 0), (3, 1)])
def test_a_block_of_another_epoch_is_refused(client: LightClient, number: int, epoch: int) -> None:
    header = header_of(Hash(bytes(32)), number, None)
    with pytest.raises(WrongEpochError):
        client.verify(header, certificate([1, 2, 3], Kind.FINALIZE, 3, header.hash, epoch))


@pytest.mark.parametrize("voters", [[0, 1], [0, 0, 1], [1, 0, 2]])
def test_signatures_that_are_no_quorum_are_refused(client: LightClient, voters: list[int]) -> None:
    header = header_of(Hash(bytes(32)), 3, None)
    with pytest.raises(ForgedCertificateError, match="proves nothing"):
        client.verify(header, certificate(voters, Kind.FINALIZE, 3, header.hash))


def test_a_forged_signature_is_refused(client: LightClient) -> None:
    header = header_of(Hash(bytes(32)), 3, None)
    good = certificate([0, 1, 2], Kind.FINALIZE, 3, header.hash)
    forged = replace(good, votes=((0, bytes(64)), *good.votes[1:]))
    with pytest.raises(ForgedCertificateError, match="voter 0"):
        client.verify(header, forged)


def test_only_the_last_block_leads_to_the_next_epoch(client: LightClient) -> None:
    with pytest.raises(WrongBoundaryError):
        client.follow(proof(number=LENGTH - 1))


def test_another_set_than_the_committed_one_is_refused(client: LightClient) -> None:
    with pytest.raises(WrongSetError):
        client.follow(replace(proof(), next_set=set_of([9, 1, 1, 1], 1)))
    assert client.epoch == 0


def test_a_set_of_a_later_epoch_is_refused(client: LightClient) -> None:
    later = set_of([1, 1, 1, 1], 2)
    header = boundary(LENGTH, later)
    finalization = certificate([0, 1, 2], Kind.FINALIZE, 9, header.hash)
    with pytest.raises(WrongSetError):
        client.follow(EpochProof(header, finalization, later))
