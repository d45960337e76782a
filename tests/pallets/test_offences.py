"""Offences: what convicts a validator, what does not, and what it costs whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pallets.balances import Balances
from pallets.offences import (
    CONVICTIONS_PER_BLOCK,
    Offence,
    Offences,
    absence_fraction,
    equivocation_fraction,
)
from pallets.offences.records import MISSED_MIN
from pallets.session import Session, prove_possession
from pallets.staking import Staker, Staking, ValidatorPrefs
from pallets.staking.records import EVIDENCE_EPOCHS, SLASH_DELAY_EPOCHS, ChilledValidator
from runtime.crypto.keys import Keypair
from runtime.frame.dispatch import INHERENT, DispatchFailed
from runtime.shared.finality import NO_DIGEST, Ballot, Equivocation, Kind, Vote, payload
from runtime.types.primitives import OPEN, AccountId, Hash, Id, Weight
from tests.pallets.support.ledger import GENESIS_HASH
from tests.pallets.support.stakers import BONDING_ERAS, PAIRS, PARAMETERS, PEOPLE, STAKE, Staked

ANN, BEN, CAT, DAN, EVA, FAY = PEOPLE[:6]
PAIR_OF = dict(zip(PEOPLE, PAIRS, strict=True))
ONE, TWO = Hash(b"1" * 32), Hash(b"2" * 32)
BACKING = 400 * OPEN
QUARTER = equivocation_fraction(1, 4)


@pytest.fixture
def chain() -> Iterator[Staked]:
    stakers = [Staker(who, STAKE) for who in (ANN, BEN, CAT, DAN)]
    with Staked([*stakers, Staker(EVA, BACKING, nominates=(ANN,))]) as staked:
        yield staked
        staked.check()


def large(size: int = 10) -> Staked:
    """Return a chain of so many validators."""
    parameters = replace(PARAMETERS, validator_count=size)
    return Staked([Staker(who, STAKE) for who in PEOPLE[:size]], parameters=parameters)


def vote(pair: Keypair, voter: int, ballot: Ballot, genesis: Hash = GENESIS_HASH) -> Vote:
    return Vote(ballot, voter, pair.sign(payload(genesis, ballot)))


def double_vote(
    chain: Staked,
    who: AccountId,
    *,
    epoch: int | None = None,
    view: int = 7,
    pair: Keypair | None = None,
    genesis: Hash = GENESIS_HASH,
) -> Equivocation:
    """Return two NOTARIZE votes of a validator over different blocks of one view."""
    epoch = chain.session.epoch() if epoch is None else epoch
    authorities = chain.session.set_of(epoch) or chain.session.current_authorities()
    voter = [one.account for one in authorities.authorities].index(who)
    signer = pair or PAIR_OF[who]
    first, second = (Ballot(epoch, view, Kind.NOTARIZE, digest) for digest in (ONE, TWO))
    return Equivocation(vote(signer, voter, first, genesis), vote(signer, voter, second, genesis))


def convict(chain: Staked, evidence: Equivocation) -> None:
    assert chain.pallet(Offences).is_reportable(evidence)
    chain.dispatch(INHERENT, "Offences", "convict", evidence=evidence)


def slashed(chain: Staked) -> dict[AccountId, int]:
    return {event.staker: event.amount for event in chain.events(Staking.Slashed)}


def miss(chain: Staked, who: AccountId, turns: int = MISSED_MIN) -> None:
    for _ in range(turns):
        chain.pallet(Offences).note_missed(who)


# -------------------------------------------------------------------------------------- convictions


def test_two_votes_that_exclude_each_other_convict(chain: Staked) -> None:
    evidence = double_vote(chain, ANN)
    convict(chain, evidence)
    assert chain.events(Offences.Convicted) == [
        Offences.Convicted(ANN, evidence.first.ballot, evidence.second.ballot)
    ]
    assert ANN in chain.session.disabled.get()
    assert ANN not in chain.staking.validators
    with pytest.raises(Staking.Tombstoned):
        chain.sign(ANN, "Staking", "validate", prefs=ValidatorPrefs(0))


def test_finalize_together_with_nullify_convicts(chain: Staked) -> None:
    evidence = double_vote(chain, ANN)
    epoch, voter = chain.session.epoch(), evidence.first.voter
    first = vote(PAIR_OF[ANN], voter, Ballot(epoch, 7, Kind.FINALIZE, ONE))
    second = vote(PAIR_OF[ANN], voter, Ballot(epoch, 7, Kind.NULLIFY, NO_DIGEST))
    convict(chain, Equivocation(first, second))


def test_anybody_reports_and_gets_the_weight_fee_back(chain: Staked) -> None:
    evidence = double_vote(chain, ANN)
    assert chain.sign(FAY, "Offences", "report", evidence=evidence) == Weight(0, 0)
    with pytest.raises(Offences.AlreadyConvicted):
        chain.sign(FAY, "Offences", "report", evidence=evidence)


def test_only_a_block_author_convicts_by_inherent(chain: Staked) -> None:
    with pytest.raises(DispatchFailed, match="BadOrigin"):
        chain.sign(FAY, "Offences", "convict", evidence=double_vote(chain, ANN))


def test_an_epoch_convicts_a_validator_once_whatever_the_evidence(chain: Staked) -> None:
    convict(chain, double_vote(chain, ANN))
    again = double_vote(chain, ANN, view=8)
    assert not chain.pallet(Offences).is_reportable(again)
    with pytest.raises(Offences.AlreadyConvicted):
        chain.dispatch(INHERENT, "Offences", "convict", evidence=again)


@pytest.mark.parametrize("position", ["first", "second"])
def test_every_signature_of_evidence_is_verified(chain: Staked, position: str) -> None:
    evidence = double_vote(chain, ANN)
    forged = double_vote(chain, ANN, pair=PAIR_OF[BEN])
    mixed = replace(evidence, **{position: getattr(forged, position)})
    assert not chain.pallet(Offences).is_reportable(mixed)
    with pytest.raises(Offences.ForgedSignature):
        chain.sign(FAY, "Offences", "report", evidence=mixed)


def test_votes_of_another_chain_prove_nothing(chain: Staked) -> None:
    evidence = double_vote(chain, ANN, genesis=Hash(b"another".ljust(32)))
    with pytest.raises(Offences.ForgedSignature):
        chain.sign(FAY, "Offences", "report", evidence=evidence)


def test_votes_that_do_not_exclude_each_other_are_no_offence(chain: Staked) -> None:
    evidence, later = double_vote(chain, ANN), double_vote(chain, ANN, view=8)
    other = double_vote(chain, BEN)
    for bad in (
        Equivocation(evidence.first, evidence.first),
        Equivocation(evidence.first, later.second),
        Equivocation(evidence.first, other.second),
    ):
        with pytest.raises(Offences.NoOffence):
            chain.sign(FAY, "Offences", "report", evidence=bad)


def test_evidence_of_a_future_epoch_or_of_no_member_is_refused(chain: Staked) -> None:
    evidence = double_vote(chain, ANN, epoch=chain.session.epoch() + 1)
    with pytest.raises(Offences.UnknownEpoch):
        chain.sign(FAY, "Offences", "report", evidence=evidence)
    evidence = double_vote(chain, ANN)
    outside = Equivocation(replace(evidence.first, voter=4), replace(evidence.second, voter=4))
    with pytest.raises(Offences.NotInSet):
        chain.sign(FAY, "Offences", "report", evidence=outside)


def test_evidence_counts_as_long_as_the_stake_is_there(chain: Staked) -> None:
    evidence, other = double_vote(chain, ANN), double_vote(chain, BEN)
    chain.next_block(EVIDENCE_EPOCHS)
    convict(chain, evidence)
    chain.next_block()
    with pytest.raises(Offences.EvidenceTooOld):
        chain.sign(FAY, "Offences", "report", evidence=other)


def test_the_stash_pays_whatever_keys_it_has_since(chain: Staked) -> None:
    evidence = double_vote(chain, ANN)
    fresh = Keypair.from_uri("//Fresh")
    proof = prove_possession(GENESIS_HASH, ANN, fresh)
    chain.sign(ANN, "Session", "set_keys", key=fresh.account, proof=proof)
    chain.next_era(2)
    assert chain.session.registered_key(ANN) == fresh.account
    convict(chain, evidence)
    assert chain.events(Offences.Convicted)[0].stash == ANN


def test_a_block_convicts_a_bounded_number() -> None:
    with large() as chain:
        for who in PEOPLE[:CONVICTIONS_PER_BLOCK]:
            convict(chain, double_vote(chain, who))
        late = double_vote(chain, PEOPLE[CONVICTIONS_PER_BLOCK])
        with pytest.raises(Offences.TooManyConvictions):
            chain.dispatch(INHERENT, "Offences", "convict", evidence=late)
        chain.next_block()
        convict(chain, late)


def test_an_offender_is_left_out_of_the_sets_that_follow(chain: Staked) -> None:
    convict(chain, double_vote(chain, ANN))
    chain.next_block()
    for _ in range(12):
        accounts = {one.account for one in chain.session.current_authorities().authorities}
        assert accounts == {BEN, CAT, DAN}
        chain.next_block()


# ------------------------------------------------------------------------------------------ slashes


def test_a_slash_waits_and_then_takes_its_fraction_from_all_who_were_exposed(
    chain: Staked,
) -> None:
    issuance = chain.balances.total_issuance.get()
    convict(chain, double_vote(chain, ANN))
    chain.next_block(SLASH_DELAY_EPOCHS - 1)
    assert slashed(chain) == {}
    chain.next_block()
    taken = {ANN: STAKE * QUARTER // 10**9, EVA: BACKING * QUARTER // 10**9}
    assert slashed(chain) == taken
    assert chain.balances.total_issuance.get() == issuance - sum(taken.values())
    assert chain.balances.burned.get() == sum(taken.values())
    (applied,) = chain.events(Offences.SlashApplied)
    assert (applied.stash, applied.fraction, applied.burned) == (
        ANN,
        QUARTER,
        sum(taken.values()),
    )


def test_stake_on_its_way_out_is_slashed_too(chain: Staked) -> None:
    evidence = double_vote(chain, ANN)
    chain.sign(EVA, "Staking", "chill")
    chain.sign(EVA, "Staking", "unbond", value=BACKING)
    chain.next_block(EVIDENCE_EPOCHS)
    convict(chain, evidence)
    chain.next_block(SLASH_DELAY_EPOCHS)
    assert slashed(chain)[EVA] == BACKING * QUARTER // 10**9
    chain.next_era(BONDING_ERAS)
    chain.sign(EVA, "Staking", "withdraw_unbonded")
    assert chain.bonded(EVA) == 0


def test_stake_that_was_added_later_is_taken_only_up_to_what_was_exposed(chain: Staked) -> None:
    chain.sign(EVA, "Staking", "bond_extra", max_additional=STAKE)
    convict(chain, double_vote(chain, ANN))
    chain.next_block(SLASH_DELAY_EPOCHS)
    assert slashed(chain)[EVA] == BACKING * QUARTER // 10**9


def test_a_second_offender_of_the_epoch_makes_the_first_pay_more(chain: Staked) -> None:
    epoch = chain.session.epoch()
    convict(chain, double_vote(chain, ANN))
    chain.next_block(SLASH_DELAY_EPOCHS)
    convict(chain, double_vote(chain, BEN, epoch=epoch))
    chain.next_block(SLASH_DELAY_EPOCHS + 1)
    assert chain.bonded(ANN) == chain.bonded(BEN) == chain.bonded(EVA) == 0
    assert equivocation_fraction(2, 4) == 10**9
    assert [one.applied for one in chain.pallet(Offences).offenders_of(epoch)] == [10**9] * 2


def test_root_cancels_a_slash_before_it_is_applied(chain: Staked) -> None:
    epoch = chain.session.epoch()
    convict(chain, double_vote(chain, ANN))
    arguments = {"offence": Offence.Equivocation, "epoch": epoch, "stash": ANN}
    chain.root("Offences", "cancel_slash", **arguments)
    chain.next_block(SLASH_DELAY_EPOCHS + 1)
    assert slashed(chain) == {}
    chain.sign(ANN, "Staking", "validate", prefs=ValidatorPrefs(0))
    with pytest.raises(Offences.NoSuchSlash):
        chain.root("Offences", "cancel_slash", **arguments)


def test_a_cancelled_offender_does_not_count_against_the_others(chain: Staked) -> None:
    epoch = chain.session.epoch()
    convict(chain, double_vote(chain, ANN))
    convict(chain, double_vote(chain, BEN))
    chain.root("Offences", "cancel_slash", offence=Offence.Equivocation, epoch=epoch, stash=ANN)
    chain.next_block(SLASH_DELAY_EPOCHS)
    assert slashed(chain) == {BEN: STAKE * QUARTER // 10**9}


def test_a_validator_without_stake_is_convicted_and_loses_its_seat() -> None:
    with Staked() as chain:
        convict(chain, double_vote(chain, ANN))
        chain.next_block(SLASH_DELAY_EPOCHS + 1)
        accounts = {one.account for one in chain.session.current_authorities().authorities}
        assert ANN not in accounts
        (applied,) = chain.events(Offences.SlashApplied)
        assert applied.burned == 0


def test_slashes_are_spread_over_blocks() -> None:
    with large() as chain:
        for who in PEOPLE[:4]:
            convict(chain, double_vote(chain, who))
        chain.next_block(SLASH_DELAY_EPOCHS)
        assert len(slashed(chain)) == 2
        chain.next_block()
        assert set(slashed(chain)) == set(PEOPLE[:4])


@given(st.integers(1, 1024), st.integers(1, 1024))
def test_fractions_grow_with_the_offenders_and_are_never_above_the_whole(
    first: int, size: int
) -> None:
    count = min(first, size)
    for fraction in (equivocation_fraction, absence_fraction):
        assert 0 <= fraction(count - 1, size) <= fraction(count, size) <= 10**9
    assert (equivocation_fraction(count, size) == 10**9) == (3 * count >= size)


# ------------------------------------------------------------------------------------------ absence


def test_who_misses_most_of_its_turns_is_chilled_and_can_come_back() -> None:
    with large() as chain:
        terms = ValidatorPrefs(10**7)
        chain.sign(ANN, "Staking", "validate", prefs=terms)
        epoch = chain.session.epoch()
        miss(chain, ANN)
        chain.next_block()
        (absent,) = chain.events(Offences.Absent)
        assert (absent.stash, absent.missed, absent.is_chilled) == (ANN, MISSED_MIN, True)
        assert chain.events(Offences.SlashDeferred) == []
        chain.next_block()
        accounts = {one.account for one in chain.session.current_authorities().authorities}
        assert ANN not in accounts
        chilled = chain.staking.chilled_validators.get(ANN)
        assert chilled == ChilledValidator(epoch, terms), "the terms are there for its return"
        chain.check()
        chain.sign(ANN, "Staking", "validate", prefs=terms)
        assert ANN not in chain.staking.chilled_validators
        chain.next_era(2)
        accounts = {one.account for one in chain.session.current_authorities().authorities}
        assert ANN in accounts


@pytest.mark.parametrize("call", ["chill", "nominate"])
def test_who_chooses_another_role_after_absence_is_no_longer_remembered(call: str) -> None:
    with large() as chain:
        miss(chain, ANN)
        chain.next_block()
        assert ANN in chain.staking.chilled_validators
        arguments = {"targets": (Id(BEN),)} if call == "nominate" else {}
        chain.sign(ANN, "Staking", call, **arguments)
        assert ANN not in chain.staking.chilled_validators
        chain.check()


def test_a_few_missed_turns_or_half_of_them_are_no_absence() -> None:
    with large() as chain:
        offences = chain.pallet(Offences)
        miss(chain, ANN, MISSED_MIN - 1)
        miss(chain, BEN, 9)
        offences.turns.put(BEN, replace(offences.turns.get(BEN), led=9))
        chain.next_block()
        assert chain.events(Offences.Absent) == []
        assert offences.turns.get(BEN).missed == 0


def test_a_set_of_four_is_never_made_smaller_by_absence(chain: Staked) -> None:
    miss(chain, ANN)
    chain.next_block()
    (absent,) = chain.events(Offences.Absent)
    assert not absent.is_chilled
    assert ANN in chain.staking.validators


def test_at_most_a_third_is_chilled_those_first_who_missed_most() -> None:
    with large() as chain:
        for missed, who in enumerate(PEOPLE[:5], start=MISSED_MIN):
            miss(chain, who, missed)
        chain.next_block()
        chilled = {event.stash for event in chain.events(Offences.Absent) if event.is_chilled}
        assert chilled == set(PEOPLE[2:5])


def test_absence_is_slashed_beyond_a_tenth_of_the_set() -> None:
    with large() as chain:
        for who in PEOPLE[:5]:
            miss(chain, who)
        chain.next_block(SLASH_DELAY_EPOCHS + 3)
        fraction = absence_fraction(5, 10)
        assert fraction == 7 * 10**9 * 9 // 1000
        assert slashed(chain) == dict.fromkeys(PEOPLE[:5], STAKE * fraction // 10**9)
    assert absence_fraction(2, 10) == 0
    assert absence_fraction(11, 100) == 0
    assert absence_fraction(100, 100) == 7 * 10**7


def test_a_genesis_validator_is_not_removed_for_absence() -> None:
    with Staked() as chain:
        miss(chain, ANN)
        chain.next_block(2)
        accounts = {one.account for one in chain.session.current_authorities().authorities}
        assert ANN in accounts


def test_money_is_burned_and_never_made_by_convictions(chain: Staked) -> None:
    balances = chain.pallet(Balances)
    whole = balances.total_issuance.get() + balances.burned.get()
    for who in (ANN, BEN, CAT, DAN):
        convict(chain, double_vote(chain, who))
    chain.next_block(10)
    assert balances.total_issuance.get() + balances.burned.get() == whole
    assert chain.pallet(Session).current_authorities().authorities
    assert chain.pallet(Offences).pending_slashes() == ()
