"""Shares of an epoch: the largest are paid at once, everybody else claims once, with a proof."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pallets.attribution import Attribution
from pallets.attribution.shares import BITS
from runtime.codec.scale import codec
from runtime.crypto.hashing import blake2b_256
from runtime.shared.documents import SHARES_PUSHED_MAX, Share
from runtime.trie.merkle import SumNode, SumProof
from runtime.types.primitives import OPEN, AccountId
from tests.pallets.support.epochs import (
    MODEL,
    POOL,
    claimable,
    close,
    earn,
    epoch,
    fault,
    faulty,
    open_gate,
    proof_of,
    settle,
    shared,
    shares_of,
)
from tests.pallets.support.epochs import FaultKind as Kind
from tests.pallets.support.ledger import ALICE, BOB, CHARLIE, EVE
from tests.pallets.support.workshop import SERVER, Workshop

CROWD = 5_000
SHARES = shares_of((ALICE, OPEN), (BOB, 2 * OPEN), (CHARLIE, 3 * OPEN), (EVE, 4 * OPEN))


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    """Give a chain whose model is indexed and has earned."""
    with Workshop() as made:
        open_gate(made)
        earn(made)
        yield made
        made.check()


def claim(
    workshop: Workshop, share: Share, proof: SumProof, *, number: int = 0, who: AccountId = BOB
) -> None:
    workshop.sign(
        who,
        "Attribution",
        "claim_share",
        model=MODEL,
        server=SERVER,
        epoch=number,
        share=share,
        proof=proof,
    )


def test_a_share_is_claimed_by_a_proof_and_paid_to_its_contributor(workshop: Workshop) -> None:
    settle(workshop, shared(SHARES, pushed=0))
    before = {share.contributor: claimable(workshop, share.contributor) for share in SHARES}
    assert set(before.values()) == {0}
    for position, share in enumerate(SHARES):
        assert not workshop.attribution.is_credited(MODEL, SERVER, 0, position)
        claim(workshop, share, proof_of(SHARES, position))
        assert claimable(workshop, share.contributor) == share.planck
        assert workshop.attribution.is_credited(MODEL, SERVER, 0, position)
        workshop.check()
    assert epoch(workshop).claimed_planck == epoch(workshop).shares_planck == 10 * OPEN


def test_a_share_is_credited_once(workshop: Workshop) -> None:
    settle(workshop, shared(SHARES, pushed=0))
    claim(workshop, SHARES[1], proof_of(SHARES, 1))
    with pytest.raises(Attribution.AlreadyCredited):
        claim(workshop, SHARES[1], proof_of(SHARES, 1))
    assert epoch(workshop).claimed_planck == SHARES[1].planck


def test_a_share_that_was_paid_at_once_is_not_claimed_again(workshop: Workshop) -> None:
    settle(workshop, shared(SHARES, pushed=2))
    assert sum(workshop.attribution.is_credited(MODEL, SERVER, 0, at) for at in range(4)) == 2
    for position, share in enumerate(SHARES):
        if workshop.attribution.is_credited(MODEL, SERVER, 0, position):
            with pytest.raises(Attribution.AlreadyCredited):
                claim(workshop, share, proof_of(SHARES, position))
        else:
            claim(workshop, share, proof_of(SHARES, position))
    assert sum(claimable(workshop, share.contributor) for share in SHARES) == 10 * OPEN


def test_a_wrong_share_amount_position_or_proof_shows_nothing(workshop: Workshop) -> None:
    settle(workshop, shared(SHARES, pushed=0))
    share, proof = SHARES[1], proof_of(SHARES, 1)
    first, *others = proof.siblings
    wrong = [
        (replace(share, planck=share.planck + 1), proof),
        (replace(share, planck=2**128 - 1), proof),
        (replace(share, contributor=SERVER), proof),
        (share, replace(proof, index=0)),
        (share, replace(proof, index=4)),
        (share, replace(proof, count=3)),
        (share, replace(proof, count=5)),
        (share, replace(proof, siblings=())),
        (share, replace(proof, siblings=(*proof.siblings, first))),
        (share, replace(proof, siblings=(SumNode(first.hash, first.amount - 1), *others))),
        (share, replace(proof, siblings=(SumNode(first.hash, 2**128 - 1), *others))),
        (share, proof_of(SHARES, 2)),
        (share, proof_of(SHARES[:3], 1)),
    ]
    for other, bad in wrong:
        with pytest.raises(Attribution.BadProof):
            claim(workshop, other, bad)
    claim(workshop, share, proof)


def test_shares_beyond_the_total_that_executors_named_are_not_paid(workshop: Workshop) -> None:
    """Executors that agree on a push that is no leaf of their tree take it from its total."""
    output = shared(SHARES, pushed=1)
    [largest] = output.largest
    settle(workshop, replace(output, largest=(replace(largest, share=Share(BOB, 9 * OPEN)),)))
    paid = 9 * OPEN
    for position, share in enumerate(SHARES):
        if paid + share.planck <= 10 * OPEN and position != largest.position:
            claim(workshop, share, proof_of(SHARES, position))
            paid += share.planck
        else:
            with pytest.raises((Attribution.BadProof, Attribution.AlreadyCredited)):
                claim(workshop, share, proof_of(SHARES, position))
    assert epoch(workshop).claimed_planck == 10 * OPEN


def test_an_epoch_that_is_not_settled_has_no_shares(workshop: Workshop) -> None:
    share, proof = SHARES[0], proof_of(SHARES, 0)
    with pytest.raises(Attribution.NotSettled):
        claim(workshop, share, proof)
    job = close(workshop)
    with pytest.raises(Attribution.NotSettled):
        claim(workshop, share, proof)
    workshop.next_block()
    workshop.answer(job, faulty(fault(Kind.Answer, 1)))
    with pytest.raises(Attribution.NotSettled):
        claim(workshop, share, proof)


def test_a_claim_is_paid_for_its_own_epoch_alone(workshop: Workshop) -> None:
    settle(workshop, shared(SHARES, pushed=0))
    earn(workshop)
    others = shares_of((ALICE, 5 * OPEN))
    settle(workshop, shared(others, pushed=0))
    with pytest.raises(Attribution.BadProof):
        claim(workshop, SHARES[0], proof_of(SHARES, 0), number=1)
    claim(workshop, others[0], proof_of(others, 0), number=1)
    claim(workshop, SHARES[0], proof_of(SHARES, 0))


def crowd(count: int) -> tuple[Share, ...]:
    accounts = (AccountId(blake2b_256(b"crowd" + at.to_bytes(4, "little"))) for at in range(count))
    return shares_of(*((who, 1 + at % 97) for at, who in enumerate(accounts)))


def test_five_thousand_contributors_are_all_paid(workshop: Workshop) -> None:
    shares = crowd(CROWD)
    output = shared(shares)
    assert len(output.largest) == SHARES_PUSHED_MAX
    settle(workshop, output)
    total = sum(share.planck for share in shares)
    assert workshop.attribution.common_pool(MODEL) == POOL - total
    pushed = {largest.position for largest in output.largest}
    unpushed = [share.planck for at, share in enumerate(shares) if at not in pushed]
    assert min(shares[at].planck for at in pushed) >= max(unpushed)
    positions = {0, 1, BITS - 1, BITS, BITS + 1, CROWD - 2, CROWD - 1} - pushed
    for position in sorted(positions):
        proof = proof_of(shares, position)
        assert len(codec(SumProof).encode(proof)) <= 1_024
        claim(workshop, shares[position], proof)
        with pytest.raises(Attribution.AlreadyCredited):
            claim(workshop, shares[position], proof)
    paid = sum(shares[at].planck for at in positions | pushed)
    assert epoch(workshop).claimed_planck == paid


def test_all_of_a_middling_crowd_is_paid_to_the_planck(workshop: Workshop) -> None:
    shares = crowd(300)
    output = shared(shares)
    settle(workshop, output)
    pushed = {largest.position for largest in output.largest}
    for position, share in enumerate(shares):
        if position not in pushed:
            claim(workshop, share, proof_of(shares, position))
    done = epoch(workshop)
    assert done.claimed_planck == done.shares_planck == sum(share.planck for share in shares)
    assert all(claimable(workshop, share.contributor) == share.planck for share in shares)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 10**18), min_size=1, max_size=20), st.data())
def test_each_share_is_paid_once_in_whatever_order(amounts: list[int], data: st.DataObject) -> None:
    who = [AccountId(bytes((at + 1,)) * 32) for at in range(len(amounts))]
    shares = shares_of(*zip(who, amounts, strict=True))
    pushed = data.draw(st.integers(0, len(shares)))
    claims = data.draw(st.lists(st.integers(0, len(shares) - 1), max_size=30))
    with Workshop() as workshop:
        open_gate(workshop)
        earn(workshop)
        output = shared(shares, pushed)
        settle(workshop, output)
        credited = {largest.position for largest in output.largest}
        for position in claims:
            proof = proof_of(shares, position)
            if position in credited:
                with pytest.raises(Attribution.AlreadyCredited):
                    claim(workshop, shares[position], proof)
            else:
                claim(workshop, shares[position], proof)
                credited.add(position)
        expected = sum(shares[at].planck for at in credited)
        assert sum(claimable(workshop, one) for one in who) == expected
        workshop.check()
