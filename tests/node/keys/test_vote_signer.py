"""A signer never signs two ballots that exclude each other, whatever happened in between."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from node.keys.vote_signer import (
    REMEMBERED_VIEWS,
    ConflictingBallotError,
    DamagedHistoryError,
    LocalSigner,
    SignerLockedError,
    SigningHistory,
)
from runtime.crypto.keys import KeyKind, Keypair, verify
from runtime.shared.finality import NO_DIGEST, Ballot, Kind, conflict, payload
from runtime.types.primitives import Hash

GENESIS = Hash(b"g" * 32)
ONE, OTHER = Hash(b"1" * 32), Hash(b"2" * 32)

kinds = st.sampled_from(list(Kind))
ballots = st.builds(
    lambda epoch, view, kind, digest: Ballot(
        epoch, view, int(kind), NO_DIGEST if kind is Kind.NULLIFY else digest
    ),
    st.integers(0, 2),
    st.integers(1, 4),
    kinds,
    st.sampled_from([ONE, OTHER]),
)


def signer(folder: Path) -> LocalSigner:
    return LocalSigner(Keypair.from_uri("//Alice"), GENESIS, SigningHistory(folder / "history"))


def test_a_signature_verifies_and_the_same_ballot_is_signed_again(tmp_path: Path) -> None:
    alice = signer(tmp_path)
    ballot = Ballot(0, 5, Kind.NOTARIZE, ONE)
    first = trio.run(alice.sign, ballot)
    assert verify(KeyKind.ED25519, first, payload(GENESIS, ballot), alice.public)
    assert trio.run(alice.sign, ballot) == first
    alice.close()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Ballot(0, 5, Kind.NOTARIZE, ONE), Ballot(0, 5, Kind.NOTARIZE, OTHER)),
        (Ballot(0, 5, Kind.FINALIZE, ONE), Ballot(0, 5, Kind.FINALIZE, OTHER)),
        (Ballot(0, 5, Kind.FINALIZE, ONE), Ballot(0, 5, Kind.NULLIFY, NO_DIGEST)),
        (Ballot(0, 5, Kind.NULLIFY, NO_DIGEST), Ballot(0, 5, Kind.FINALIZE, ONE)),
    ],
)
def test_a_conflicting_ballot_is_refused_also_after_a_restart(
    tmp_path: Path, first: Ballot, second: Ballot
) -> None:
    alice = signer(tmp_path)
    trio.run(alice.sign, first)
    with pytest.raises(ConflictingBallotError):
        trio.run(alice.sign, second)
    alice.close()
    again = signer(tmp_path)
    with pytest.raises(ConflictingBallotError):
        trio.run(again.sign, second)
    assert trio.run(again.sign, first)
    again.close()


def test_what_lies_below_the_remembered_views_is_refused(tmp_path: Path) -> None:
    alice = signer(tmp_path)
    trio.run(alice.sign, Ballot(0, REMEMBERED_VIEWS + 10, Kind.NOTARIZE, ONE))
    with pytest.raises(ConflictingBallotError, match="below the mark"):
        trio.run(alice.sign, Ballot(0, 5, Kind.NOTARIZE, ONE))
    assert trio.run(alice.sign, Ballot(0, 20, Kind.NOTARIZE, ONE))
    alice.close()


def test_two_signers_cannot_share_a_mark(tmp_path: Path) -> None:
    first = SigningHistory(tmp_path / "history")
    with pytest.raises(SignerLockedError, match="Another process"):
        SigningHistory(tmp_path / "history")
    first.close()
    SigningHistory(tmp_path / "history").close()


def test_a_torn_mark_keeps_what_was_signed_before(tmp_path: Path) -> None:
    alice = signer(tmp_path)
    kept = Ballot(0, 1, Kind.NOTARIZE, ONE)
    trio.run(alice.sign, kept)
    size = (tmp_path / "history").stat().st_size
    trio.run(alice.sign, Ballot(0, 2, Kind.NOTARIZE, ONE))
    alice.close()
    data = (tmp_path / "history").read_bytes()
    for cut in range(size, len(data)):
        (tmp_path / "history").write_bytes(data[:cut])
        history = SigningHistory(tmp_path / "history")
        with pytest.raises(ConflictingBallotError):
            history.record_ballot(Ballot(0, 1, Kind.NOTARIZE, OTHER))
        history.close()


def test_a_damaged_mark_is_never_begun_anew(tmp_path: Path) -> None:
    alice = signer(tmp_path)
    for view in range(1, 4):
        trio.run(alice.sign, Ballot(0, view, Kind.NOTARIZE, ONE))
    alice.close()
    data = bytearray((tmp_path / "history").read_bytes())
    data[20] ^= 1
    (tmp_path / "history").write_bytes(data)
    for _ in range(2):
        with pytest.raises(DamagedHistoryError, match="make another"):
            SigningHistory(tmp_path / "history")
    assert (tmp_path / "history").read_bytes() == data


def test_votes_signed_elsewhere_are_told_from_own_ones(tmp_path: Path) -> None:
    alice = signer(tmp_path)
    own = Ballot(0, REMEMBERED_VIEWS + 10, Kind.NOTARIZE, ONE)
    trio.run(alice.sign, own)
    assert not alice.is_foreign(own)
    assert alice.is_foreign(Ballot(0, REMEMBERED_VIEWS + 11, Kind.NOTARIZE, ONE))
    assert not alice.is_foreign(Ballot(0, 1, Kind.NOTARIZE, ONE)), "too old to tell"
    alice.close()


@settings(max_examples=50, deadline=None)
@given(tried=st.lists(ballots, max_size=12), restarts=st.sets(st.integers(0, 12)))
def test_no_two_signed_ballots_ever_exclude_each_other(
    tmp_path_factory: pytest.TempPathFactory, tried: list[Ballot], restarts: set[int]
) -> None:
    path = tmp_path_factory.mktemp("history") / "history"
    history = SigningHistory(path)
    signed: list[Ballot] = []
    for number, ballot in enumerate(tried):
        if number in restarts:
            history.close()
            history = SigningHistory(path)
        try:
            history.record_ballot(ballot)
        except ConflictingBallotError:
            continue
        signed.append(ballot)
    history.close()
    assert not any(conflict(one, other) for one in signed for other in signed)
