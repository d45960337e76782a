"""Evidence outlives restarts, counts once for a voter and epoch, and is bounded."""

from __future__ import annotations

from pathlib import Path

from node.authoring.evidence_pool import EVIDENCE_MAX, EvidencePool
from runtime.shared.finality import Ballot, Equivocation, Kind, Vote
from runtime.types.primitives import Hash

ONE, OTHER, THIRD = (Hash(bytes([mark]) * 32) for mark in (1, 2, 3))


def evidence(voter: int, epoch: int = 0, second: Hash = OTHER) -> Equivocation:
    votes = [
        Vote(Ballot(epoch, 7, Kind.NOTARIZE, digest), voter, bytes(64)) for digest in (ONE, second)
    ]
    return Equivocation(*votes)


def test_evidence_outlives_a_restart_until_it_is_discarded(tmp_path: Path) -> None:
    path = tmp_path / "consensus" / "evidence"
    box = EvidencePool(path)
    box.add(evidence(1))
    box.add(evidence(2))
    again = EvidencePool(path)
    assert again.all() == (evidence(1), evidence(2))
    again.discard(evidence(1))
    assert EvidencePool(path).all() == (evidence(2),)


def test_a_voter_is_accused_once_an_epoch(tmp_path: Path) -> None:
    box = EvidencePool(tmp_path / "evidence")
    box.add(evidence(1))
    box.add(evidence(1, second=THIRD))
    box.add(evidence(1, epoch=1))
    assert box.all() == (evidence(1), evidence(1, epoch=1))


def test_the_oldest_evidence_goes_when_there_is_too_much(tmp_path: Path) -> None:
    box = EvidencePool(tmp_path / "evidence")
    for voter in range(EVIDENCE_MAX + 3):
        box.add(evidence(voter))
    assert len(box.all()) == EVIDENCE_MAX
    assert box.all()[0] == evidence(3)


def test_an_unreadable_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "evidence"
    path.write_bytes(b"\xff\xff\xff")
    box = EvidencePool(path)
    assert box.all() == ()
    box.add(evidence(1))
    assert EvidencePool(path).all() == (evidence(1),)
