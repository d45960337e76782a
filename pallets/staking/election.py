"""Eras: the election by stake, the exposures behind validators, and the change of eras.

An era is `sessions_per_era` sessions of Session, era x those from x * sessions_per_era on. It is
planned one session ahead, because Session queues a set for a whole session: the first boundary
before an era elects it, the boundary at which it begins pays the era before and moves all stakers
to their new positions. Session asks `elect` once at each boundary, when the session that begins is
current already; in all other sessions the set stays.

Where no account stands for election the validators and exposures of the last era stay, so that a
chain never loses its set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pallets import weights
from pallets.staking import eras, rewards
from pallets.staking.eras import ActiveEraInfo
from pallets.staking.records import Exposure, IndividualExposure, bonding_eras
from runtime.shared import phragmen
from runtime.shared.phragmen import Voter, Winner
from runtime.types.primitives import AccountId, Weight

if TYPE_CHECKING:
    from pallets.staking import Staking

Elected = tuple[tuple[AccountId, int], ...]


def elect(staking: Staking) -> Elected:
    """Begin and plan eras as the session that begins asks for it; (stash, stake) of a new set, by
    account, or nothing where the set stays."""
    if staking.system.current_number() == 0:
        return plan_first(staking)
    session, length = staking.session.epoch(), staking.sessions_per_era.get()
    if session % length == 0:
        begin(staking, session // length)
    if (session + 1) % length == 0:
        return plan(staking, (session + 1) // length)
    return ()


def weight_of(staking: Staking, session: int) -> Weight:
    """Return the weight of what `elect` does when a session begins."""
    length = staking.sessions_per_era.get()
    validators = staking.counter_for_validators.get()
    nominators = staking.counter_for_nominators.get()
    used = Weight(0, 0)
    if session % length == 0:
        elected = len(staking.era_validators.get(staking.active()))
        used += weights.staking_begin_era(max(validators, elected), nominators)
        oldest = _era_to_forget(staking, session // length)
        if oldest is not None:
            used += weights.staking_forget_era(*eras.size_of(staking, oldest))
    if (session + 1) % length == 0:
        used += weights.staking_plan_era(validators, nominators)
    return used


def plan_first(staking: Staking) -> Elected:
    """Elect and begin era 0 in genesis, as soon as stakes and keys are there."""
    if staking.era_validators.get(0):
        return _stakes(staking, 0)
    elected = plan(staking, 0)
    if elected:
        staking.active_era.put(ActiveEraInfo(0))
        rewards.move_positions(staking, (), _backings(staking, 0))
    return elected


def plan(staking: Staking, era: int) -> Elected:
    """Elect the validators of an era and note what is exposed."""
    seats = staking.parameters.get().validator_count
    candidates, voters = snapshot(staking)
    winners = phragmen.elect(candidates, voters, seats)
    if winners:
        winners.sort(key=lambda winner: winner.account)
        for winner in winners:
            staking.exposures.put((era, winner.account), _exposure(staking, winner))
        staking.era_validators.put(era, tuple(winner.account for winner in winners))
        staking.emit(staking.StakersElected(era, len(winners)))
    elif era > 0:
        _copy_era(staking, staking.planned(), era)
    staking.current_era.put(era)
    return _stakes(staking, era) if winners else ()


def begin(staking: Staking, era: int) -> None:
    """End the active era and begin the next: pay, move positions, remove what no slash needs."""
    former = staking.active()
    rewards.end_era(staking, former)
    backings = _backings(staking, era)
    rewards.move_positions(staking, staking.era_validators.get(former), backings)
    staking.active_era.put(ActiveEraInfo(era, _now(staking)))
    staking.emit(staking.EraStarted(era))
    oldest = _era_to_forget(staking, era)
    if oldest is not None:
        eras.forget(staking, oldest)


def _era_to_forget(staking: Staking, era: int) -> int | None:
    """Return the era that no slash needs any more when another one begins."""
    oldest = era - bonding_eras(staking.sessions_per_era.get()) - 1
    return oldest if oldest >= 0 else None


def _now(staking: Staking) -> int | None:
    """Return the time of the block, None on a chain without a clock."""
    return None if staking.timestamp is None else staking.timestamp.now.get()


def snapshot(staking: Staking) -> tuple[list[AccountId], list[Voter]]:
    """Return who stands, with the minimum bond and a session key, and who backs them."""
    minimum = staking.parameters.get().minimum_validator_bond
    candidates, voters = [], []
    for who in sorted(staking.validators.keys()):
        ledger = staking.ledger.get(who)
        if ledger is None or ledger.active < minimum or staking.session.registered_key(who) is None:
            continue
        candidates.append(who)
        voters.append(Voter(who, ledger.active, (who,)))
    standing = set(candidates)
    for who in sorted(staking.nominators.keys()):
        ledger, nominations = staking.ledger.get(who), staking.nominators.get(who)
        if ledger is None or nominations is None or not ledger.active:
            continue
        targets = tuple(target for target in nominations.targets if target in standing)
        if targets:
            voters.append(Voter(who, ledger.active, targets))
    return candidates, voters


def _exposure(staking: Staking, winner: Winner) -> Exposure:
    assert winner.account in staking.validators, "only candidates win"
    prefs = staking.validators.get(winner.account)
    own = sum(part for who, part in winner.backers if who == winner.account)
    others = tuple(
        IndividualExposure(who, part) for who, part in winner.backers if who != winner.account
    )
    return Exposure(winner.stake, own, prefs.commission, others)


def _copy_era(staking: Staking, former: int, era: int) -> None:
    """Let an era have the validators and exposures of the one before."""
    validators = staking.era_validators.get(former)
    for validator in validators:
        staking.exposures.put((era, validator), staking.exposure_of(former, validator))
    staking.era_validators.put(era, validators)


def _stakes(staking: Staking, era: int) -> Elected:
    return tuple(
        (validator, staking.exposure_of(era, validator).total)
        for validator in staking.era_validators.get(era)
    )


def _backings(staking: Staking, era: int) -> rewards.Backings:
    """Return what each staker exposes in an era, behind whom; in the order of validators."""
    backings: rewards.Backings = {}
    for validator in staking.era_validators.get(era):
        exposure = staking.exposure_of(era, validator)
        for who, value in rewards.backers_of(validator, exposure):
            backings.setdefault(who, []).append((validator, value))
    return backings
