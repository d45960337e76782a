"""The votes of one view: a quorum is certified once, and forgers and equivocators are found."""

from __future__ import annotations

from dataclasses import replace

from consensus.signatures import Signatures
from consensus.tally import Findings, Tally, equivocations
from runtime.shared.finality import Equivocation, Kind
from runtime.types.primitives import Hash
from tests.consensus.support.network import GENESIS, certificate, set_of, vote

ONE, OTHER = Hash(b"1" * 32), Hash(b"2" * 32)


def tally_of(*weights: int) -> tuple[Tally, Signatures]:
    signatures = Signatures(GENESIS, set_of(weights))
    return Tally(signatures), signatures


def test_a_quorum_is_certified_once() -> None:
    tally, _ = tally_of(1, 1, 1, 1)
    found = [Findings() for _ in range(4)]
    for voter, findings in enumerate(found):
        tally.add(vote(voter, Kind.NOTARIZE, 1, ONE), voter, findings)
    expected = certificate([0, 1, 2], Kind.NOTARIZE, 1, ONE)
    assert [findings.certificates for findings in found] == [[], [], [expected], []]


def test_no_signature_is_verified_before_a_quorum_may_be_there() -> None:
    tally, signatures = tally_of(1, 1, 1, 1)
    for voter in (0, 1):
        tally.add(vote(voter, Kind.NOTARIZE, 1, ONE), voter, Findings())
    assert signatures.checks == 0
    assert tally.voted(Kind.NOTARIZE, 0)
    assert signatures.checks == 1


def test_the_source_of_a_forged_vote_is_named_and_its_place_is_free_again() -> None:
    tally, _ = tally_of(1, 1, 1, 1)
    findings = Findings()
    real = vote(0, Kind.NOTARIZE, 1, ONE)
    tally.add(replace(real, signature=bytes(64)), "liar", findings)
    tally.add(real, "honest", findings)
    assert findings.forgers == ["liar"]
    assert findings.offences == []
    assert tally.voted(Kind.NOTARIZE, 0)


def test_two_conflicting_votes_of_one_voter_are_an_offence() -> None:
    tally, _ = tally_of(1, 1, 1, 1)
    findings = Findings()
    first, second = vote(0, Kind.NOTARIZE, 1, ONE), vote(0, Kind.NOTARIZE, 1, OTHER)
    tally.add(first, "a", findings)
    tally.add(second, "b", findings)
    assert findings.offences == [Equivocation(first, second)]
    assert findings.forgers == []


def test_rival_certificates_convict_those_who_are_in_both() -> None:
    rivals = [
        certificate([0, 1, 2], Kind.FINALIZE, 1, ONE),
        certificate([1, 2, 3], Kind.FINALIZE, 1, OTHER),
    ]
    assert [offence.first.voter for offence in equivocations(rivals)] == [1, 2]
    assert equivocations(rivals[:1] * 2) == []
