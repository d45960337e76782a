"""Balances: transfers, existential deposit and dust, holds, freezes; as in Substrate."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pallets.balances import EXISTENTIAL_DEPOSIT, Balances, FreezeReason, Genesis, HoldReason
from pallets.system import System
from runtime.frame.dispatch import DispatchFailed
from runtime.types.primitives import OPEN, AccountId, Address32, Id, Index, MultiAddress
from tests.pallets.support.ledger import ALICE, BOB, CHARLIE, ENDOWMENT, NOBODY, Ledger

ED = EXISTENTIAL_DEPOSIT
BOND, ESCROW = HoldReason.JobBond, HoldReason.JobEscrow
POT = AccountId(b"a pot".ljust(32, b"\0"))


@pytest.fixture
def bank() -> Iterator[Ledger]:
    with Ledger((System, Balances)) as ledger:
        yield ledger
        ledger.check()


def free(ledger: Ledger, who: AccountId) -> int:
    return ledger.pallet(Balances).free(who)


def transfer(
    ledger: Ledger,
    value: int,
    dest: AccountId = BOB,
    source: AccountId = ALICE,
    *,
    keep_alive: bool = False,
) -> None:
    name = "transfer_keep_alive" if keep_alive else "transfer_allow_death"
    ledger.sign(source, "Balances", name, dest=Id(dest), value=value)


def transfer_all(ledger: Ledger, *, keep_alive: bool) -> None:
    ledger.sign(ALICE, "Balances", "transfer_all", dest=Id(BOB), keep_alive=keep_alive)


# ---------------------------------------------------------------------------------------- transfers


def test_a_transfer_moves_free_balance(bank: Ledger) -> None:
    transfer(bank, OPEN)
    assert free(bank, ALICE) == ENDOWMENT - OPEN
    assert free(bank, BOB) == ENDOWMENT + OPEN
    assert bank.events(Balances.Transfer) == [Balances.Transfer(ALICE, BOB, OPEN)]


@pytest.mark.parametrize("keep_alive", [False, True])
def test_more_than_the_balance_is_not_transferred(bank: Ledger, keep_alive: bool) -> None:
    with pytest.raises(DispatchFailed, match="FundsUnavailable"):
        transfer(bank, ENDOWMENT + 1, keep_alive=keep_alive)


def test_a_transfer_to_oneself_changes_nothing(bank: Ledger) -> None:
    transfer(bank, ENDOWMENT, dest=ALICE)
    assert free(bank, ALICE) == ENDOWMENT
    with pytest.raises(DispatchFailed, match="FundsUnavailable"):
        transfer(bank, ENDOWMENT + 1, dest=ALICE)


def test_a_transfer_of_nothing_succeeds_even_to_an_account_that_does_not_exist(
    bank: Ledger,
) -> None:
    transfer(bank, 0, dest=NOBODY)
    assert NOBODY not in bank.pallet(System).account


def test_a_new_account_needs_the_existential_deposit(bank: Ledger) -> None:
    with pytest.raises(DispatchFailed, match="BelowMinimum"):
        transfer(bank, ED - 1, dest=NOBODY)
    transfer(bank, ED, dest=NOBODY)
    assert bank.events(Balances.Endowed)[-1] == Balances.Endowed(NOBODY, ED)
    assert bank.pallet(System).get_account(NOBODY).providers == 1


def test_an_emptied_account_is_reaped_and_its_dust_is_burned(bank: Ledger) -> None:
    issuance = bank.pallet(Balances).total_issuance.get()
    transfer(bank, ENDOWMENT - ED + 1)
    assert ALICE not in bank.pallet(System).account
    assert bank.events(Balances.DustLost) == [Balances.DustLost(ALICE, ED - 1)]
    assert bank.events(System.KilledAccount) == [System.KilledAccount(ALICE)]
    assert bank.pallet(Balances).total_issuance.get() == issuance - ED + 1


def test_keep_alive_refuses_to_reap_the_sender(bank: Ledger) -> None:
    with pytest.raises(DispatchFailed, match="NotExpendable"):
        transfer(bank, ENDOWMENT - ED + 1, keep_alive=True)
    transfer(bank, ENDOWMENT - ED, keep_alive=True)
    assert free(bank, ALICE) == ED


def test_transfer_all_empties_the_account_or_leaves_the_deposit(bank: Ledger) -> None:
    transfer_all(bank, keep_alive=True)
    assert free(bank, ALICE) == ED
    transfer_all(bank, keep_alive=False)
    assert free(bank, BOB) == 2 * ENDOWMENT
    assert ALICE not in bank.pallet(System).account


def test_root_transfers_from_any_account(bank: Ledger) -> None:
    bank.root("Balances", "force_transfer", source=Id(BOB), dest=Id(CHARLIE), value=OPEN)
    assert free(bank, CHARLIE) == ENDOWMENT + OPEN
    with pytest.raises(DispatchFailed, match="BadOrigin"):
        bank.sign(ALICE, "Balances", "force_transfer", source=Id(BOB), dest=Id(ALICE), value=1)


@pytest.mark.parametrize(
    ("address", "is_known"), [(Id(BOB), True), (Address32(BOB), True), (Index(()), False)]
)
def test_addresses_resolve_where_this_chain_has_them(
    bank: Ledger, address: MultiAddress, is_known: bool
) -> None:
    def send() -> None:
        bank.sign(ALICE, "Balances", "transfer_allow_death", dest=address, value=OPEN)

    if is_known:
        send()
        assert free(bank, BOB) == ENDOWMENT + OPEN
    else:
        with pytest.raises(DispatchFailed, match="CannotLookup"):
            send()


def test_burning_lowers_the_issuance_for_good(bank: Ledger) -> None:
    balances = bank.pallet(Balances)
    issuance = balances.total_issuance.get()
    bank.sign(ALICE, "Balances", "burn", value=OPEN, keep_alive=True)
    assert balances.total_issuance.get() == issuance - OPEN
    assert balances.burned.get() == OPEN
    with pytest.raises(DispatchFailed, match="NotExpendable"):
        bank.sign(ALICE, "Balances", "burn", value=ENDOWMENT - OPEN, keep_alive=True)
    bank.sign(ALICE, "Balances", "burn", value=ENDOWMENT - OPEN, keep_alive=False)
    assert ALICE not in bank.pallet(System).account


# -------------------------------------------------------------------------------------------- holds


def test_a_hold_moves_free_balance_aside_and_back(bank: Ledger) -> None:
    balances = bank.pallet(Balances)
    balances.hold(BOND, ALICE, OPEN)
    balances.hold(BOND, ALICE, OPEN)
    balances.hold(ESCROW, ALICE, 5 * OPEN)
    assert (balances.held(BOND, ALICE), balances.held(ESCROW, ALICE)) == (2 * OPEN, 5 * OPEN)
    data = balances.account_balance(ALICE)
    assert (data.free, data.reserved) == (ENDOWMENT - 7 * OPEN, 7 * OPEN)
    balances.release(BOND, ALICE, 2 * OPEN)
    balances.release(ESCROW, ALICE, 5 * OPEN)
    assert free(bank, ALICE) == ENDOWMENT
    assert ALICE not in balances.holds
    assert bank.pallet(System).get_account(ALICE).consumers == 0


def test_a_hold_leaves_the_existential_deposit_free(bank: Ledger) -> None:
    balances = bank.pallet(Balances)
    with pytest.raises(Balances.InsufficientBalance):
        balances.hold(BOND, ALICE, ENDOWMENT - ED + 1)
    balances.hold(BOND, ALICE, ENDOWMENT - ED)


def test_only_what_is_held_for_a_reason_is_released_or_paid(bank: Ledger) -> None:
    balances = bank.pallet(Balances)
    balances.hold(ESCROW, ALICE, OPEN)
    with pytest.raises(Balances.HoldTooLow):
        balances.release(BOND, ALICE, 1)
    with pytest.raises(Balances.HoldTooLow):
        balances.transfer_on_hold(ESCROW, ALICE, BOB, OPEN + 1)


def test_an_account_with_a_hold_cannot_be_reaped(bank: Ledger) -> None:
    bank.pallet(Balances).hold(BOND, ALICE, OPEN)
    with pytest.raises(DispatchFailed, match="NotExpendable"):
        transfer(bank, ENDOWMENT - OPEN)
    transfer_all(bank, keep_alive=False)
    assert free(bank, ALICE) == ED


def test_held_balance_pays_others_or_its_owner(bank: Ledger) -> None:
    balances = bank.pallet(Balances)
    balances.hold(ESCROW, ALICE, 3 * OPEN)
    balances.transfer_on_hold(ESCROW, ALICE, BOB, OPEN)
    balances.transfer_on_hold(ESCROW, ALICE, ALICE, OPEN)
    assert free(bank, BOB) == ENDOWMENT + OPEN
    assert free(bank, ALICE) == ENDOWMENT - 2 * OPEN
    with pytest.raises(DispatchFailed, match="BelowMinimum"):
        balances.transfer_on_hold(ESCROW, ALICE, NOBODY, ED - 1)


def test_slashing_burns_at_most_what_is_held(bank: Ledger) -> None:
    balances = bank.pallet(Balances)
    balances.hold(BOND, ALICE, OPEN)
    assert balances.slash_held(BOND, ALICE, OPEN // 2) == OPEN // 2
    assert balances.slash_held(BOND, ALICE, OPEN) == OPEN // 2
    assert balances.slash_held(BOND, ALICE, OPEN) == 0
    assert balances.burned.get() == OPEN
    assert free(bank, ALICE) == ENDOWMENT - OPEN


# ------------------------------------------------------------------------------------------ freezes


def test_a_freeze_keeps_free_balance_from_leaving(bank: Ledger) -> None:
    bank.pallet(Balances).freeze(FreezeReason.Vesting, ALICE, ENDOWMENT - OPEN)
    with pytest.raises(DispatchFailed, match="Frozen"):
        transfer(bank, OPEN + 1)
    transfer(bank, OPEN)


def test_freezes_overlap_and_the_largest_counts(bank: Ledger) -> None:
    balances = bank.pallet(Balances)
    balances.freeze(FreezeReason.Vesting, ALICE, 3 * OPEN)
    balances.freeze(FreezeReason.Staking, ALICE, 5 * OPEN)
    assert balances.account_balance(ALICE).frozen == 5 * OPEN
    balances.freeze(FreezeReason.Staking, ALICE, 0)
    assert balances.account_balance(ALICE).frozen == 3 * OPEN
    assert bank.events(Balances.Thawed) == [Balances.Thawed(ALICE, 2 * OPEN)]
    balances.freeze(FreezeReason.Vesting, ALICE, 0)
    assert ALICE not in balances.freezes


def test_held_balance_counts_towards_a_freeze(bank: Ledger) -> None:
    balances = bank.pallet(Balances)
    balances.freeze(FreezeReason.Staking, ALICE, 10 * OPEN)
    balances.hold(BOND, ALICE, 10 * OPEN)
    transfer_all(bank, keep_alive=True)
    assert free(bank, ALICE) == ED


def test_a_frozen_balance_may_be_held_and_slashed(bank: Ledger) -> None:
    balances = bank.pallet(Balances)
    balances.freeze(FreezeReason.Staking, ALICE, ENDOWMENT)
    balances.hold(BOND, ALICE, OPEN)
    balances.slash_held(BOND, ALICE, OPEN)
    with pytest.raises(DispatchFailed, match="Frozen"):
        transfer(bank, 1)


def test_an_account_with_a_freeze_below_the_deposit_is_not_reaped(bank: Ledger) -> None:
    balances = bank.pallet(Balances)
    balances.freeze(FreezeReason.Staking, ALICE, 5)
    with pytest.raises(DispatchFailed, match="NotExpendable"):
        transfer(bank, ENDOWMENT - 10)


# ----------------------------------------------------------------------- withdrawals, pots, genesis


def test_a_withdrawn_fee_is_given_back_or_burned(bank: Ledger) -> None:
    balances = bank.pallet(Balances)
    balances.withdraw(ALICE, 5 * OPEN)
    balances.deposit(ALICE, 2 * OPEN)
    balances.burn_withdrawn(ALICE, 3 * OPEN)
    assert free(bank, ALICE) == ENDOWMENT - 3 * OPEN
    assert balances.burned.get() == 3 * OPEN


def test_a_fee_never_reaps_the_account(bank: Ledger) -> None:
    with pytest.raises(DispatchFailed, match="NotExpendable"):
        bank.pallet(Balances).withdraw(ALICE, ENDOWMENT - ED + 1)


def test_a_pot_takes_less_than_the_existential_deposit(bank: Ledger) -> None:
    bank.pallet(System).create_pot(POT)
    transfer(bank, 1, dest=POT)
    assert free(bank, POT) == 1


def test_a_pot_that_pays_everything_out_stays(bank: Ledger) -> None:
    bank.pallet(System).create_pot(POT)
    transfer(bank, OPEN, dest=POT)
    bank.pallet(Balances).transfer(POT, ALICE, OPEN - 1)
    assert free(bank, POT) == 1


def test_genesis_endows_an_account_once_and_above_the_deposit() -> None:
    for accounts in (((ALICE, ED - 1),), ((ALICE, ED), (ALICE, ED))):
        with (
            pytest.raises(AssertionError, match=r"above the deposit|twice"),
            Ledger((System, Balances), endowed=()) as ledger,
        ):
            ledger.pallet(Balances).build_genesis(Genesis(accounts))


def test_spendable_is_what_a_transfer_accepts(bank: Ledger) -> None:
    balances = bank.pallet(Balances)
    balances.freeze(FreezeReason.Staking, ALICE, 10 * OPEN)
    balances.hold(BOND, ALICE, 3 * OPEN)
    amount = balances.reducible_balance(ALICE, keep_alive=True)
    assert amount == ENDOWMENT - 10 * OPEN
    with pytest.raises(DispatchFailed, match="Frozen"):
        transfer(bank, amount + 1, keep_alive=True)
    transfer(bank, amount, keep_alive=True)
