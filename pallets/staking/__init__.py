"""Staking: stake behind validators, their election, what it earns and how it is lost.

A stash bonds OPEN and validates, or nominates up to 16 validators. Once an era the stake elects the
set by sequential Phragmén; validators and those behind them share what the era pays, and what was
exposed in an era is slashable until unbonding is over. There is no controller: the stash signs.
This file declares the pallet, with its many storage items and calls; what they do is in the files
beside it. Names and indices are those of pallet_staking where clients know them.
"""

from __future__ import annotations

from pallets import weights
from pallets.staking import bonding, election, eras, invariants, records, rewards, slashing
from pallets.staking.records import (
    EVIDENCE_EPOCHS,
    NO_PREFS,
    SLASH_DELAY_EPOCHS,
    STAKING_POT,
    ChilledValidator,
    Earnings,
    EraEntry,
    Exposure,
    Genesis,
    Nominations,
    Parameters,
    Payee,
    Staker,
    StakingLedger,
    Sweep,
    ValidatorEntry,
    ValidatorPrefs,
)
from pallets.staking.required_pallets import Blocks, Clock, Currency, Validating
from runtime.codec.scale import u32, u256
from runtime.frame.dispatch import Error, Root, Signed
from runtime.frame.pallet import Const, Event, Needs, Pallet, api, call
from runtime.frame.storage import DefaultMap, Hasher, Map, OptionalValue, Value, default, stored
from runtime.types.primitives import AccountId, Balance, CompactBalance, MultiAddress, Weight

__all__ = [
    "EVIDENCE_EPOCHS",
    "SLASH_DELAY_EPOCHS",
    "STAKING_POT",
    "Genesis",
    "Parameters",
    "Payee",
    "Staker",
    "Staking",
    "ValidatorPrefs",
]


class Staking(Pallet, index=11):
    """Stake behind validators: bonds, elections, rewards, slashes."""

    max_nominations: Const[u32] = records.TARGETS_MAX
    """The most validators that one account may nominate."""
    history_depth: Const[u32] = records.HISTORY_DEPTH
    """The number of past eras of which wallets ask; what a slash may need is stored longer."""
    max_unlocking_chunks: Const[u32] = records.UNLOCKING_MAX
    """The most amounts of one stash that may be unbonding at a time."""
    maximum_validators: Const[u32] = records.VALIDATORS_MAX
    """The most accounts that may stand for election, and the most seats."""
    maximum_nominators: Const[u32] = records.NOMINATORS_MAX
    """The most accounts that may nominate."""
    payouts_per_block: Const[u32] = records.PAYOUTS_PER_BLOCK
    """The most stakers that one block pays by itself."""
    parameters_minimum: Const[Parameters] = records.PARAMETERS_MIN
    """The least values that root may set as parameters of staking."""
    parameters_maximum: Const[Parameters] = records.PARAMETERS_MAX
    """The greatest values that root may set as parameters of staking."""

    system: Needs[Blocks]
    balances: Needs[Currency]
    session: Needs[Validating]
    timestamp: Needs[Clock | None] = None

    parameters: Value[Parameters] = default(Parameters())
    """What root sets: minimum bonds (planck), seats, commission and payout rates."""
    sessions_per_era: Value[u32] = default(records.SESSIONS_PER_ERA)
    """The number of sessions (epochs of Session) in an era."""
    validator_count: Value[u32] = default(Parameters().validator_count)
    """The number of seats, as in the parameters."""
    bonded: Map[AccountId, AccountId] = stored(Hasher.TWOX_64_CONCAT)
    """The account that signs for a stash: the stash itself, by stash."""
    ledger: Map[AccountId, StakingLedger]
    """The bonded stake in planck, active and unbonding, by stash."""
    payee: DefaultMap[AccountId, Payee] = default(Payee.Stash, Hasher.TWOX_64_CONCAT)
    """Where the rewards of a stash go, by stash."""
    validators: DefaultMap[AccountId, ValidatorPrefs] = default(NO_PREFS, Hasher.TWOX_64_CONCAT)
    """The preferences of the accounts that stand for election, by stash."""
    counter_for_validators: Value[u32] = default(0)
    """The number of accounts that stand for election."""
    nominators: Map[AccountId, Nominations] = stored(Hasher.TWOX_64_CONCAT)
    """The validators that an account nominates, and the era since which it does, by stash."""
    counter_for_nominators: Value[u32] = default(0)
    """The number of accounts that nominate."""
    tombstones: DefaultMap[AccountId, u32] = default(0)
    """The number of convictions that are not lifted, by stash; with one it is never elected."""
    chilled_validators: Map[AccountId, ChilledValidator] = stored(Hasher.TWOX_64_CONCAT)
    """The validators that were chilled for absence and have chosen no role since, by stash."""
    current_era: OptionalValue[u32]
    """The latest era that was planned; at most one ahead of the active one."""
    active_era: OptionalValue[eras.ActiveEraInfo]
    """The era of the block that is executed, and when it began; none before the first election."""
    era_validators: DefaultMap[u32, tuple[AccountId, ...]] = default((), Hasher.TWOX_64_CONCAT)
    """The elected validators of an era, sorted by account, by era."""
    eras_stakers_overview: Map[eras.EraKey, eras.PagedExposureMetadata]
    """The stake (planck) behind a validator in an era, by era and validator."""
    eras_stakers_paged: Map[tuple[u32, AccountId, u32], eras.ExposurePage]
    """The nominators behind a validator in an era, by era, validator and page (always 0)."""
    eras_validator_prefs: DefaultMap[eras.EraKey, ValidatorPrefs] = default(NO_PREFS)
    """The terms with which a validator was elected, by era and validator."""
    eras_reward_points: DefaultMap[u32, eras.EraRewardPoints] = default(eras.EraRewardPoints())
    """The number of blocks that were made in an era, and by whom, by era."""
    eras_validator_reward: Map[u32, Balance] = stored(Hasher.TWOX_64_CONCAT)
    """What an ended era allotted to its stakers, in planck, by era."""
    claimed_rewards: DefaultMap[eras.EraKey, tuple[u32, ...]] = default(())
    """The pages of stakers whose rewards of an ended era are allotted, by era and validator."""
    validator_slash_in_era: Map[eras.EraKey, tuple[u32, Balance]]
    """The greatest fraction (parts of 10^9) and the planck that a validator lost for an era."""
    nominator_slash_in_era: Map[eras.EraKey, Balance]
    """The planck that a nominator lost for an era, by era and nominator."""
    rates: DefaultMap[AccountId, u256] = default(0)
    """The rewards of a validator per planck exposed since its election, in parts of 10^36."""
    earnings: DefaultMap[AccountId, Earnings] = default(Earnings())
    """The rewards (planck) not paid yet and the exposures that earn them, by staker."""
    owed: Value[Balance] = default(0)
    """The rewards allotted to stakers and not paid yet, in planck."""
    sweep: Value[Sweep] = default(Sweep())
    """The position of the automatic payout in the stakers of an era."""

    class EraPaid(Event, index=0):
        """An era has ended; this much was allotted to its stakers, and the rest stays."""

        era_index: u32
        validator_payout: Balance
        remainder: Balance

    class Rewarded(Event, index=1):
        """An account was paid what it had earned."""

        stash: AccountId
        amount: Balance

    class Slashed(Event, index=2):
        """A staker lost some of its bond."""

        staker: AccountId
        amount: Balance

    class StakersElected(Event, index=5):
        """The validators of an era were elected."""

        era: u32
        validators: u32

    class Bonded(Event, index=6):
        """An account has bonded this amount."""

        stash: AccountId
        amount: Balance

    class Unbonded(Event, index=7):
        """An amount is on its way out of the bond; it is free in an era."""

        stash: AccountId
        amount: Balance
        free_in_era: u32

    class Withdrawn(Event, index=8):
        """Unbonded stake is free again."""

        stash: AccountId
        amount: Balance

    class Chilled(Event, index=11):
        """An account does not validate or nominate any more, from the next election on."""

        stash: AccountId

    class ValidatorPrefsSet(Event, index=13):
        """An account stands for election, on these terms."""

        stash: AccountId
        prefs: ValidatorPrefs

    class Nominated(Event, index=20):
        """An account backs these validators, from the next election on."""

        stash: AccountId
        targets: tuple[AccountId, ...]

    class EraStarted(Event, index=21):
        """An era has begun."""

        era: u32

    class ParametersChanged(Event, index=22):
        """Root changed the parameters of staking."""

        parameters: Parameters

    class NotStash(Error, index=1):
        """This account has bonded nothing. Bond first."""

    class AlreadyBonded(Error, index=2):
        """This account has a bond already. Add to it with bond_extra."""

    class EmptyTargets(Error, index=4):
        """A nomination names nobody. Name validators, or chill."""

    class InsufficientBond(Error, index=7):
        """The bond would be below the minimum of its role. Bond more, or chill before you
        unbond."""

    class NoMoreChunks(Error, index=8):
        """Too many amounts are on their way out. Withdraw what is free, or wait an era."""

    class NoUnlockChunk(Error, index=9):
        """Nothing is on its way out that could be bonded again."""

    class BadTarget(Error, index=13):
        """A nominated account is no validator. Name accounts that stand for election."""

    class TooManyTargets(Error, index=16):
        """A nomination names at most 16 validators. Name fewer."""

    class DuplicateTarget(Error, index=17):
        """A nomination names a validator twice. Name each once."""

    class CommissionTooHigh(Error, index=18):
        """The commission is above the maximum. Compare with the parameters of staking."""

    class TooManyNominators(Error, index=20):
        """All places of nominators are taken. Wait until one leaves."""

    class TooManyValidators(Error, index=21):
        """All places of validators are taken. Wait until one leaves."""

    class Tombstoned(Error, index=22):
        """This account was convicted of signing twice. It can never validate again."""

    class ParametersOutOfBounds(Error, index=23):
        """A parameter is out of bounds. Compare with ParametersMinimum and ParametersMaximum."""

    # ------------------------------------------------------------------------------- stake

    @call(0, weights.STAKING_BOND)
    def bond(self, who: Signed, value: CompactBalance, payee: Payee) -> None:
        """Bond some of your balance as stake, and say where its rewards go."""
        bonding.bond(self, who, value, payee)

    @call(1, weights.STAKING_BOND_EXTRA)
    def bond_extra(self, who: Signed, max_additional: CompactBalance) -> None:
        """Add to your bond; it counts from the next election on."""
        bonding.bond_extra(self, who, max_additional)

    @call(2, weights.STAKING_UNBOND)
    def unbond(self, who: Signed, value: CompactBalance) -> None:
        """Send stake on its way out; it stays slashable until it is free."""
        bonding.unbond(self, who, value)

    @call(3, weights.STAKING_WITHDRAW_UNBONDED)
    def withdraw_unbonded(self, who: Signed) -> None:
        """Free the stake whose unbonding is over; earnings are paid on the way."""
        bonding.withdraw(self, who)

    @call(19, weights.STAKING_REBOND)
    def rebond(self, who: Signed, value: CompactBalance) -> None:
        """Put stake on its way out back to work, the latest first."""
        bonding.rebond(self, who, value)

    @call(7, weights.STAKING_SET_PAYEE)
    def set_payee(self, who: Signed, payee: Payee) -> None:
        """Say where your rewards go: into the bond, or to your free balance."""
        bonding.require_ledger(self, who)
        self.payee.put(who, payee)

    # ------------------------------------------------------------------------------- roles

    @call(4, weights.STAKING_VALIDATE)
    def validate(self, who: Signed, prefs: ValidatorPrefs) -> None:
        """Stand for election from the next era on; register a session key as well."""
        bonding.validate(self, who, prefs)

    @call(5, weights.STAKING_NOMINATE)
    def nominate(self, who: Signed, targets: tuple[MultiAddress, ...]) -> None:
        """Back validators with your stake, from the next election on."""
        if len(targets) > records.TARGETS_MAX:
            raise self.TooManyTargets
        bonding.nominate(self, who, [self.lookup(target) for target in targets])

    @call(6, weights.STAKING_CHILL)
    def chill(self, who: Signed) -> None:
        """Neither validate nor nominate any more, from the next election on."""
        bonding.require_ledger(self, who)
        bonding.chill(self, who)

    @call(30, weights.STAKING_SET_PARAMETERS, operational=True)
    def set_parameters(self, origin: Root, parameters: Parameters) -> None:
        """Change the parameters of staking, within their bounds."""
        if not records.are_within_bounds(parameters):
            raise self.ParametersOutOfBounds
        self._put_parameters(parameters)
        self.emit(self.ParametersChanged(parameters))

    # -------------------------------------------------------------------------- runtime API

    @api("StakingApi")
    def validator_entries(self) -> tuple[ValidatorEntry, ...]:
        """Return who validates in this era or stands for the next, with stake and points."""
        era = self.active()
        elected = self.era_validators.get(era)
        standing = self.validators.keys()
        return tuple(
            eras.entry_of(self, era, who, who in elected) for who in sorted({*elected, *standing})
        )

    @api("StakingApi")
    def prefs_of(self, account: AccountId) -> ValidatorPrefs | None:
        """Return the terms on which an account stands for election; None where it does not."""
        return self.validators.get(account) if account in self.validators else None

    @api("StakingApi")
    def nominations_of(self, account: AccountId) -> tuple[AccountId, ...]:
        """Return whom an account backs."""
        nominations = self.nominators.get(account)
        return nominations.targets if nominations else ()

    @api("StakingApi")
    def nominators_of(self, validator: AccountId) -> tuple[tuple[AccountId, Balance], ...]:
        """Return who is exposed behind a validator in this era, at most 1,000."""
        exposure = self.exposures.get((self.active(), validator))
        others = exposure.others[: records.ENTRIES_LISTED_MAX] if exposure else ()
        return tuple((other.who, other.value) for other in others)

    @api("StakingApi")
    def exposure(self, era: u32, validator: AccountId) -> Exposure | None:
        """Return what stood behind a validator in an era, and its commission."""
        return self.exposures.get((era, validator))

    @api("StakingApi")
    def pending_rewards(self, account: AccountId) -> Balance:
        """Return what an account has earned in past eras and is paid next."""
        return rewards.earned(self, self.earnings.get(account))

    @api("StakingApi")
    def ledger_of(self, account: AccountId) -> StakingLedger | None:
        """Return what an account has bonded, and what is on its way out until when."""
        return self.ledger.get(account)

    @api("StakingApi")
    def era(self) -> EraEntry:
        """Return the active and the planned era, and how many eras unbonding takes."""
        active, length = self.active(), self.sessions_per_era.get()
        return EraEntry(
            active, self.planned(), active * length, length, records.bonding_eras(length)
        )

    # ------------------------------------------------------------------- for other pallets

    @property
    def exposures(self) -> eras.Exposures:
        """What stands behind the elected validators, by era and validator."""
        return eras.Exposures(self)

    def active(self) -> int:
        """Return the era of the block being executed."""
        info = self.active_era.get()
        return 0 if info is None else info.index

    def planned(self) -> int:
        """Return the latest era that was planned."""
        return self.current_era.get() or 0

    def elect(self) -> tuple[tuple[AccountId, int], ...]:
        """Begin and plan eras at a boundary; the stash and stake of each validator of a new set,
        by account; an empty result where the set stays. Session asks once for each session."""
        return election.elect(self)

    def election_weight(self, session: int) -> Weight:
        """Return the weight of `elect` when a session begins."""
        return election.weight_of(self, session)

    def note_author(self, account: AccountId) -> None:
        """Give the author of a block its point in this era."""
        rewards.note_author(self, account)

    def chill_absent(self, who: AccountId, epoch: int) -> bool:
        """Take its role from a validator that was absent in an epoch, from the next election on;
        returns whether it had one."""
        return bonding.chill_absent(self, who, epoch)

    def tombstone(self, who: AccountId) -> None:
        """Chill an account for good."""
        bonding.chill(self, who)
        slashing.tombstone(self, who)

    def lift_tombstone(self, who: AccountId) -> None:
        """Take back one conviction; without any left the account may validate again."""
        slashing.lift_tombstone(self, who)

    def slash(self, epoch: int, validator: AccountId, fraction: int) -> int:
        """Burn a fraction (parts of 10**9) of what stood behind a validator in an epoch; returns
        how much was burned."""
        era = epoch // self.sessions_per_era.get()
        return slashing.slash(self, era, validator, fraction)

    def backer_count(self, epoch: int, validator: AccountId) -> int:
        """Return how many accounts a slash for an epoch touches."""
        exposure = self.exposures.get((epoch // self.sessions_per_era.get(), validator))
        return 1 + len(exposure.others) if exposure is not None else 0

    def exposure_of(self, era: int, validator: AccountId) -> Exposure:
        """Return what stands behind an elected validator."""
        return self.exposures.require((era, validator))

    # --------------------------------------------------------------------- hooks and genesis

    def build_genesis(self, genesis: Genesis) -> None:
        """Make the pot, bond the first stakers, elect among them where keys are there already."""
        assert genesis.sessions_per_era > 1, "an era is longer than a session"
        assert records.are_within_bounds(genesis.parameters), "parameters within their bounds"
        self._put_parameters(genesis.parameters)
        self.sessions_per_era.put(genesis.sessions_per_era)
        self.system.create_pot(STAKING_POT)
        for staker in genesis.stakers:
            bonding.bond(self, staker.stash, staker.bond, Payee.Staked)
            if not staker.nominates:
                bonding.validate(self, staker.stash, ValidatorPrefs(staker.commission))
        for staker in genesis.stakers:
            if staker.nominates:
                bonding.nominate(self, staker.stash, staker.nominates)
        election.plan_first(self)

    def on_initialize(self) -> Weight:
        """Pay the next stakers of the last era."""
        return rewards.sweep(self)

    def check_invariants(self) -> None:
        """Ledgers are what is held; positions are exposures; the pot holds what is owed."""
        invariants.check(self)

    # ------------------------------------------------------------------------------ internal

    def _put_parameters(self, parameters: Parameters) -> None:
        self.parameters.put(parameters)
        self.validator_count.put(parameters.validator_count)
