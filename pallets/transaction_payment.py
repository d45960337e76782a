"""TransactionPayment: fees of extrinsics, charged first and refunded by actual weight.

The fee goes to the fee pot, from which validators are paid; the tip is part of it. Interface and
names are those of pallet_transaction_payment.
"""

from __future__ import annotations

from typing import Final, Protocol

from pallets.required_system import Pots
from runtime.codec.scale import scale, u32, u128
from runtime.frame.dispatch import DispatchClass, DispatchFailed
from runtime.frame.extrinsic import Extrinsic, UncheckedExtrinsic
from runtime.frame.fees import MULTIPLIER_ONE, InclusionFee, inclusion_fee, next_multiplier
from runtime.frame.pallet import Event, Needs, Pallet, api
from runtime.frame.storage import Value, default
from runtime.frame.validity import Payment, TransactionRefused
from runtime.types.primitives import AccountId, Balance, Weight

FEE_POT: Final = AccountId(b"modlopen/fee".ljust(32, b"\0"))
"""Where transaction fees go."""


@scale
class FeeDetails:
    """A fee in parts (pallet_transaction_payment::FeeDetails)."""

    inclusion_fee: InclusionFee | None
    tip: Balance


@scale
class RuntimeDispatchInfo:
    """Weight, class and fee of an extrinsic, the tip left out."""

    weight: Weight
    class_: DispatchClass
    partial_fee: Balance


class Currency(Protocol):
    """The part of Balances that TransactionPayment calls."""

    def reducible_balance(self, who: AccountId, *, keep_alive: bool) -> int: ...
    def withdraw(self, who: AccountId, amount: int) -> None: ...
    def deposit(self, who: AccountId, amount: int) -> None: ...


class Blocks(Pots, Protocol):
    """The part of System that TransactionPayment calls."""

    def normal_weight(self) -> Weight: ...


class TransactionPayment(Pallet, index=6):
    """Fees of extrinsics and the congestion multiplier."""

    balances: Needs[Currency]
    system: Needs[Blocks]

    next_fee_multiplier: Value[u128] = default(MULTIPLIER_ONE)
    """The factor of weight fees in the next block, in parts of 10^18; congestion raises it."""

    class TransactionFeePaid(Event, index=0):
        """An account has paid a fee, tip included."""

        who: AccountId
        actual_fee: Balance
        tip: Balance

    @api("TransactionPaymentApi", version=4)
    def query_info(self, uxt: UncheckedExtrinsic, len_: u32) -> RuntimeDispatchInfo:
        """Return weight, class and fee of an extrinsic of `len` bytes."""
        weight, kind = self._weight_of(uxt), self._machine.class_of(uxt.call)
        return RuntimeDispatchInfo(weight, kind, self._details(uxt, len_).total)

    @api("TransactionPaymentApi", version=4)
    def query_fee_details(self, uxt: UncheckedExtrinsic, len_: u32) -> FeeDetails:
        """Return the parts of the fee of an extrinsic of `len` bytes."""
        tip = uxt.signed.extra.tip if uxt.signed else 0
        return FeeDetails(self._details(uxt, len_), tip)

    @api("TransactionPaymentApi", version=4)
    def query_weight_to_fee(self, weight: Weight) -> Balance:
        """Return the part of a fee that a weight causes."""
        return inclusion_fee(weight, 0, self.next_fee_multiplier.get()).adjusted_weight_fee

    @api("TransactionPaymentApi", version=4)
    def query_length_to_fee(self, length: u32) -> Balance:
        """Return the part of a fee that a length in bytes causes."""
        return inclusion_fee(Weight(0, 0), length, MULTIPLIER_ONE).len_fee

    # ---------------------------------------------------------------- what the executive needs

    def fee_of(self, weight: Weight, length: int) -> int:
        """Return the fee in planck, without tip."""
        return inclusion_fee(weight, length, self.next_fee_multiplier.get()).total

    def can_pay(self, account: AccountId, fee: int) -> None:
        """Raise TransactionRefused(Payment) when an account cannot pay a fee."""
        if self.balances.reducible_balance(account, keep_alive=True) < fee:
            raise TransactionRefused(Payment())

    def charge(self, account: AccountId, fee: int) -> None:
        """Withdraw a fee before dispatch. Raises TransactionRefused(Payment)."""
        try:
            self.balances.withdraw(account, fee)
        except DispatchFailed as error:
            raise TransactionRefused(Payment()) from error

    def settle(self, account: AccountId, charged: int, owed: int, tip: int) -> None:
        """Refund what exceeds the fee owed, put the rest into the pot, deposit the event."""
        if charged > owed:
            try:
                self.balances.deposit(account, charged - owed)
            except DispatchFailed:
                owed = (
                    charged  # the account was reaped by its own call: the refund stays in the pot
                )
        self.balances.deposit(FEE_POT, owed)
        self.emit(self.TransactionFeePaid(account, owed, tip))

    def build_genesis(self) -> None:
        """Make the fee pot."""
        self.system.create_pot(FEE_POT)

    def on_finalize(self) -> None:
        """Move the congestion multiplier."""
        multiplier = self.next_fee_multiplier.get()
        following = next_multiplier(multiplier, self.system.normal_weight())
        if following != multiplier:
            self.next_fee_multiplier.put(following)

    def _weight_of(self, uxt: Extrinsic) -> Weight:
        return self._machine.weight_of(uxt.call)

    def _details(self, uxt: Extrinsic, length: int) -> InclusionFee:
        return inclusion_fee(self._weight_of(uxt), length, self.next_fee_multiplier.get())
