"""The invariants of the state of Staking, which tests and devnets check after each block."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pallets.balances import HoldReason
from pallets.staking import rewards
from pallets.staking.records import STAKING_POT, UNLOCKING_MAX, Exposure, bond_of
from runtime.types.primitives import AccountId

if TYPE_CHECKING:
    from pallets.staking import Staking


def check(staking: Staking) -> None:
    """Assert that holds, roles, exposures, positions and debts agree with one another."""
    _check_ledgers(staking)
    _check_roles(staking)
    active = staking.active()
    assert active <= staking.planned() <= active + 1, "one era is planned ahead at most"
    for (era, validator), exposure in staking.exposures.items():
        assert validator in staking.era_validators.get(era), "who is exposed is elected"
        _check_exposure(exposure)
    for era, points in staking.eras_reward_points.items():
        assert points.total == sum(count for _, count in points.individual.entries), (
            f"the points of era {era} are those of its validators"
        )
    _check_earnings(staking)


def _check_ledgers(staking: Staking) -> None:
    for who, ledger in staking.ledger.items():
        on_hold = staking.balances.held(HoldReason.Staking, who)
        assert on_hold == ledger.total, f"the ledger of {who.hex()} is not what is held"
        assert ledger == bond_of(who, ledger.active, ledger.unlocking), "its parts are the whole"
        assert staking.bonded.get(who) == who, "a stash signs for itself"
        assert len(ledger.unlocking) <= UNLOCKING_MAX
        eras = [chunk.era for chunk in ledger.unlocking]
        assert eras == sorted(set(eras)), "stake leaves in the order in which it was unbonded"
        assert all(chunk.value for chunk in ledger.unlocking), "an empty chunk is removed"


def _check_roles(staking: Staking) -> None:
    validators, nominators = set(staking.validators.keys()), set(staking.nominators.keys())
    assert len(validators) == staking.counter_for_validators.get()
    assert len(nominators) == staking.counter_for_nominators.get()
    assert not validators & nominators, "an account has one role"
    for who in sorted(validators | nominators):
        assert who in staking.ledger, f"{who.hex()} has a role without stake"
    for who, _ in staking.tombstones.items():
        assert who not in validators, f"{who.hex()} has a tombstone and stands for election"
    for who, _ in staking.chilled_validators.items():
        assert who in staking.ledger, f"{who.hex()} is remembered as chilled without stake"
        assert who not in validators | nominators, f"{who.hex()} is chilled and has a role"


def _check_exposure(exposure: Exposure) -> None:
    assert exposure.total == exposure.own + sum(other.value for other in exposure.others)
    assert exposure.total > 0, "no validator is elected without stake"


def _check_earnings(staking: Staking) -> None:
    exposed: dict[AccountId, dict[AccountId, int]] = {}
    era = staking.active()
    for validator in staking.era_validators.get(era):
        for who, value in rewards.backers_of(validator, staking.exposure_of(era, validator)):
            exposed.setdefault(who, {})[validator] = value
    debts = 0
    for who, earnings in staking.earnings.items():
        positions = {position.validator: position.value for position in earnings.positions}
        assert positions == exposed.pop(who, {}), f"positions of {who.hex()} are its exposures"
        debts += rewards.earned(staking, earnings)
    assert not exposed, "who is exposed has positions"
    owed = staking.owed.get()
    assert debts <= owed, "more was earned than allotted"
    assert owed <= staking.balances.free(STAKING_POT), "the pot holds what is owed"
