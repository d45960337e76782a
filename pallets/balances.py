"""Balances: OPEN in accounts, with existential deposit, holds and freezes.

Free tokens move; held tokens (`reserved`) wait for a purpose and can be slashed; freezes forbid
free tokens to fall below an amount. An account lives while its free balance is at least the
existential deposit; less than that is dust and is burned. OPEN is never minted after genesis, so
total issuance only falls. Interface and indices are those of pallet_balances.
"""

from __future__ import annotations

import enum
from dataclasses import replace
from typing import Final, Protocol

from pallets import weights
from runtime.codec.scale import scale, u32
from runtime.frame.dispatch import Error, Root, Signed, TokenError, token_error
from runtime.frame.pallet import Const, Event, Needs, Pallet, api, call
from runtime.frame.storage import DefaultMap, Hasher, Value, default
from runtime.types.primitives import (
    AccountData,
    AccountId,
    AccountInfo,
    Balance,
    CompactBalance,
    MultiAddress,
)

EXISTENTIAL_DEPOSIT: Final = 10**15
"""Planck that an account has at least; without a least amount, dust would fill the state."""


class HoldReason(enum.IntEnum):
    """Why tokens are held."""

    DatanetBond = 0
    JobEscrow = 1
    JobBond = 2
    InferenceChannel = 3
    DatanetDeposit = 4
    ModelDeposit = 5
    Staking = 6
    ServerBond = 7


class FreezeReason(enum.IntEnum):
    """Why tokens are frozen."""

    Staking = 0
    Governance = 1
    Vesting = 2


@scale
class HoldAmount:
    """A hold of one account."""

    id: HoldReason
    amount: Balance


@scale
class FreezeAmount:
    """A freeze of one account."""

    id: FreezeReason
    amount: Balance


@scale
class Genesis:
    """Endowed accounts; their sum is the total issuance."""

    accounts: tuple[tuple[AccountId, Balance], ...] = ()


class Accounts(Protocol):
    """The part of System that Balances calls."""

    def get_account(self, account: AccountId) -> AccountInfo: ...
    def put_account(self, account: AccountId, info: AccountInfo) -> None: ...


class Balances(Pallet, index=5):
    """OPEN in accounts: transfers, holds, freezes, total issuance."""

    existential_deposit: Const[Balance] = EXISTENTIAL_DEPOSIT
    """The least free balance of an account, in planck; one that falls below it is removed."""
    max_locks: Const[u32] = 0
    """The most locks of one account: none, for this chain has holds and freezes instead."""
    max_reserves: Const[u32] = 0
    """The most named reserves of one account: none, for this chain has holds instead."""
    max_freezes: Const[u32] = len(FreezeReason)
    """The most freezes of one account: one for each reason."""

    system: Needs[Accounts]

    total_issuance: Value[Balance] = default(0)
    """All OPEN that exist, free and held, in planck."""
    burned: Value[Balance] = default(0)
    """All OPEN that were burned since genesis, in planck."""
    holds: DefaultMap[AccountId, tuple[HoldAmount, ...]] = default((), Hasher.BLAKE2_128_CONCAT)
    """The amounts (planck) on hold and their reasons, by account."""
    freezes: DefaultMap[AccountId, tuple[FreezeAmount, ...]] = default((), Hasher.BLAKE2_128_CONCAT)
    """The amounts (planck) that are frozen and their reasons, by account."""

    class Endowed(Event, index=0):
        """An account was created with some free balance."""

        account: AccountId
        free_balance: Balance

    class DustLost(Event, index=1):
        """An account was removed whose balance was below the existential deposit."""

        account: AccountId
        amount: Balance

    class Transfer(Event, index=2):
        """Transfer succeeded."""

        from_: AccountId
        to: AccountId
        amount: Balance

    class Deposit(Event, index=7):
        """Some amount was deposited."""

        who: AccountId
        amount: Balance

    class Withdraw(Event, index=8):
        """Some amount was withdrawn, for example for a fee."""

        who: AccountId
        amount: Balance

    class Slashed(Event, index=9):
        """Some amount was removed because of misbehaviour."""

        who: AccountId
        amount: Balance

    class Burned(Event, index=11):
        """Some amount was burned."""

        who: AccountId
        amount: Balance

    class Frozen(Event, index=19):
        """Some balance was frozen."""

        who: AccountId
        amount: Balance

    class Thawed(Event, index=20):
        """Some balance was thawed."""

        who: AccountId
        amount: Balance

    class Held(Event, index=22):
        """Some balance was placed on hold."""

        reason: HoldReason
        who: AccountId
        amount: Balance

    class Released(Event, index=23):
        """Some held balance was released to its owner."""

        reason: HoldReason
        who: AccountId
        amount: Balance

    class TransferOnHold(Event, index=24):
        """Held balance of one account was paid out to another."""

        reason: HoldReason
        source: AccountId
        dest: AccountId
        amount: Balance

    class InsufficientBalance(Error, index=2):
        """The balance is too low to hold this amount."""

    class DeadAccount(Error, index=6):
        """The beneficiary account must exist already."""

    class HoldTooLow(Error, index=12):
        """Less than this amount is on hold for this reason."""

    # ------------------------------------------------------------------------------- calls

    @call(0, weights.BALANCES_TRANSFER_ALLOW_DEATH)
    def transfer_allow_death(self, who: Signed, dest: MultiAddress, value: CompactBalance) -> None:
        """Transfer free balance; the sender's account may be removed if little remains."""
        self.transfer(who, self.lookup(dest), value, keep_alive=False)

    @call(2, weights.BALANCES_FORCE_TRANSFER)
    def force_transfer(
        self, origin: Root, source: MultiAddress, dest: MultiAddress, value: CompactBalance
    ) -> None:
        """Transfer from any account, by root."""
        self.transfer(self.lookup(source), self.lookup(dest), value, keep_alive=False)

    @call(3, weights.BALANCES_TRANSFER_KEEP_ALIVE)
    def transfer_keep_alive(self, who: Signed, dest: MultiAddress, value: CompactBalance) -> None:
        """Transfer free balance; fails rather than removing the sender's account."""
        self.transfer(who, self.lookup(dest), value, keep_alive=True)

    @call(4, weights.BALANCES_TRANSFER_ALL)
    def transfer_all(self, source: Signed, dest: MultiAddress, keep_alive: bool) -> None:
        """Transfer all that may leave the account."""
        amount = self.reducible_balance(source, keep_alive=keep_alive)
        self.transfer(source, self.lookup(dest), amount, keep_alive=keep_alive)

    @call(10, weights.BALANCES_BURN)
    def burn(self, who: Signed, value: CompactBalance, keep_alive: bool) -> None:
        """Burn free balance: total issuance falls by as much, for good."""
        self.burn_from(who, value, keep_alive=keep_alive)

    @api("BalancesApi")
    def account_balance(self, account: AccountId) -> AccountData:
        """Return free, held and frozen balance of an account."""
        return self.system.get_account(account).data

    # ------------------------------------------------------------------- for other pallets

    def free(self, who: AccountId) -> int:
        """Return the free balance."""
        return self.system.get_account(who).data.free

    def reducible_balance(self, who: AccountId, *, keep_alive: bool) -> int:
        """Return how much of the free balance may leave an account."""
        info = self.system.get_account(who)
        # A freeze covers free and held balance together, so held balance counts towards it.
        stays = max(info.data.frozen - info.data.reserved, 0)
        if keep_alive or info.consumers or info.data.reserved:
            stays = max(stays, EXISTENTIAL_DEPOSIT)
        return max(info.data.free - stays, 0)

    def transfer(
        self, source: AccountId, dest: AccountId, amount: int, *, keep_alive: bool = False
    ) -> None:
        """Move free balance. Raises DispatchFailed(Token...)."""
        self._check_withdrawal(source, amount, keep_alive=keep_alive)
        if source != dest and amount:
            self._check_deposit(dest, amount)
            self._subtract(source, amount)
            self._add(dest, amount)
        self.emit(self.Transfer(source, dest, amount))

    def withdraw(self, who: AccountId, amount: int) -> None:
        """Take a fee from the free balance; the account stays alive. Raises DispatchFailed."""
        if amount:
            self._check_withdrawal(who, amount, keep_alive=True)
            self._subtract(who, amount)
        self.emit(self.Withdraw(who, amount))

    def deposit(self, who: AccountId, amount: int) -> None:
        """Give tokens that were withdrawn before. Raises DispatchFailed for a dust account."""
        self._check_deposit(who, amount)
        self._add(who, amount)
        self.emit(self.Deposit(who, amount))

    def burn_withdrawn(self, who: AccountId, amount: int) -> None:
        """Burn tokens that were withdrawn before, such as a part of a fee."""
        self._reduce_issuance(amount)
        self.emit(self.Burned(who, amount))

    def burn_from(self, who: AccountId, amount: int, *, keep_alive: bool = False) -> None:
        """Burn free balance."""
        self._check_withdrawal(who, amount, keep_alive=keep_alive)
        self._subtract(who, amount)
        self.burn_withdrawn(who, amount)

    def held(self, reason: HoldReason, who: AccountId) -> int:
        """Return how much of an account is held for a reason."""
        return sum(hold.amount for hold in self.holds.get(who) if hold.id is reason)

    def hold(self, reason: HoldReason, who: AccountId, amount: int) -> None:
        """Move free balance into a hold. Raises InsufficientBalance."""
        info = self.system.get_account(who)
        # The deposit stays free, so that the account outlives its holds.
        if info.data.free < amount + EXISTENTIAL_DEPOSIT:
            raise self.InsufficientBalance
        self._set_hold(reason, who, self.held(reason, who) + amount)
        self._shift(who, -amount, amount)
        self.emit(self.Held(reason, who, amount))

    def release(self, reason: HoldReason, who: AccountId, amount: int) -> None:
        """Give held balance back to its owner. Raises HoldTooLow."""
        self._unhold(reason, who, amount)
        self._shift(who, amount, -amount)
        self.emit(self.Released(reason, who, amount))

    def transfer_on_hold(
        self, reason: HoldReason, who: AccountId, dest: AccountId, amount: int
    ) -> None:
        """Move held balance to the free balance of another account. Raises HoldTooLow."""
        if who == dest:
            self.release(reason, who, amount)
            return
        self._check_deposit(dest, amount)
        self._unhold(reason, who, amount)
        self._shift(who, 0, -amount)
        self._add(dest, amount)
        self.emit(self.TransferOnHold(reason, who, dest, amount))

    def slash_held(self, reason: HoldReason, who: AccountId, amount: int) -> int:
        """Burn up to `amount` of a hold; returns what was burned."""
        taken = min(amount, self.held(reason, who))
        if taken:
            self._unhold(reason, who, taken)
            self._shift(who, 0, -taken)
            self._reduce_issuance(taken)
            self.emit(self.Slashed(who, taken))
        return taken

    def freeze(self, reason: FreezeReason, who: AccountId, amount: int) -> None:
        """Set how much free plus held balance a reason forbids to leave; 0 thaws.

        A frozen account cannot be reaped. Raises DeadAccount.
        """
        info = self.system.get_account(who)
        if not info.providers:
            raise self.DeadAccount
        others = tuple(entry for entry in self.freezes.get(who) if entry.id is not reason)
        entries = (*others, FreezeAmount(reason, amount)) if amount else others
        if entries:
            self.freezes.put(who, entries)
        else:
            self.freezes.remove(who)
        frozen = max((entry.amount for entry in entries), default=0)
        consumers = info.consumers + (frozen > 0) - (info.data.frozen > 0)
        data = replace(info.data, frozen=frozen)
        self.system.put_account(who, replace(info, consumers=consumers, data=data))
        event = self.Frozen if frozen >= info.data.frozen else self.Thawed
        self.emit(event(who, abs(frozen - info.data.frozen)))

    # ---------------------------------------------------------------------------- genesis

    def build_genesis(self, genesis: Genesis) -> None:
        """Endow the accounts of the chain spec."""
        for account, amount in genesis.accounts:
            assert amount >= EXISTENTIAL_DEPOSIT, "a genesis balance is above the deposit"
            info = self.system.get_account(account)
            assert info.data.free == 0, f"{account.hex()} is endowed twice in genesis"
            self._add(account, amount)
            self.total_issuance.put(self.total_issuance.get() + amount)

    def check_invariants(self) -> None:
        """Balances sum up to total issuance; holds sum up to reserved balance."""
        total = 0
        for who, info in self.system.account.items():  # type: ignore[attr-defined]
            total += info.data.free + info.data.reserved
            on_hold = sum(hold.amount for hold in self.holds.get(who))
            assert on_hold == info.data.reserved, f"holds of {who.hex()} do not sum up"
        assert total == self.total_issuance.get(), "balances do not sum up to total issuance"

    # ---------------------------------------------------------------------------- internal

    def _check_withdrawal(self, who: AccountId, amount: int, *, keep_alive: bool) -> None:
        info = self.system.get_account(who)
        if amount > info.data.free:
            raise token_error(TokenError.FundsUnavailable)
        remaining = info.data.free - amount
        if remaining < info.data.frozen - info.data.reserved:
            raise token_error(TokenError.Frozen)
        preserved = keep_alive or info.consumers > 0 or info.data.reserved > 0
        if amount and preserved and remaining < EXISTENTIAL_DEPOSIT:
            raise token_error(TokenError.NotExpendable)

    def _check_deposit(self, who: AccountId, amount: int) -> None:
        info = self.system.get_account(who)
        if not info.providers and info.data.free + amount < EXISTENTIAL_DEPOSIT:
            raise token_error(TokenError.BelowMinimum)

    def _subtract(self, who: AccountId, amount: int) -> None:
        """Take free balance; an account that falls below the deposit is reaped, its dust burned."""
        info = self.system.get_account(who)
        free = info.data.free - amount
        # Other pallets may provide for an account too, as for pots; only the balance's own
        # provider goes, and only with the last one the account.
        falls = free < EXISTENTIAL_DEPOSIT <= info.data.free
        providers = info.providers - falls
        if falls and not providers and free:
            self._reduce_issuance(free)
            self.emit(self.DustLost(who, free))
            free = 0
        self.system.put_account(who, _with_free(info, free, providers))

    def _add(self, who: AccountId, amount: int) -> None:
        """Give free balance; from the existential deposit on the account is alive."""
        if not amount:
            return
        info = self.system.get_account(who)
        free = info.data.free + amount
        rises = info.data.free < EXISTENTIAL_DEPOSIT <= free
        self.system.put_account(who, _with_free(info, free, info.providers + rises))
        if not info.providers:
            self.emit(self.Endowed(who, free))

    def _shift(self, who: AccountId, free: int, reserved: int) -> None:
        """Change free and reserved balance; the first hold takes a reference to the account."""
        info = self.system.get_account(who)
        data = replace(
            info.data, free=info.data.free + free, reserved=info.data.reserved + reserved
        )
        consumers = info.consumers + (data.reserved > 0) - (info.data.reserved > 0)
        self.system.put_account(who, replace(info, consumers=consumers, data=data))

    def _set_hold(self, reason: HoldReason, who: AccountId, amount: int) -> None:
        others = tuple(hold for hold in self.holds.get(who) if hold.id is not reason)
        if amount:
            entries = (*others, HoldAmount(reason, amount))
            self.holds.put(who, tuple(sorted(entries, key=lambda hold: hold.id)))
        elif others:
            self.holds.put(who, others)
        else:
            self.holds.remove(who)

    def _unhold(self, reason: HoldReason, who: AccountId, amount: int) -> None:
        on_hold = self.held(reason, who)
        if on_hold < amount:
            raise self.HoldTooLow
        self._set_hold(reason, who, on_hold - amount)

    def _reduce_issuance(self, amount: int) -> None:
        self.total_issuance.put(self.total_issuance.get() - amount)
        self.burned.put(self.burned.get() + amount)


def _with_free(info: AccountInfo, free: int, providers: int) -> AccountInfo:
    """Return the record with another free balance.

    Written out: dataclasses.replace takes three times as long, and this runs for every transfer.
    """
    data = info.data
    return AccountInfo(
        info.nonce,
        info.consumers,
        providers,
        info.sufficients,
        AccountData(free, data.reserved, data.frozen, data.flags),
    )
