"""A chain of stakers for tests: sessions of one block, eras of three, keys for everybody."""

from __future__ import annotations

from collections.abc import Sequence

from pallets import session
from pallets.authorship import Authorship
from pallets.balances import Balances, HoldReason
from pallets.offences import Offences
from pallets.randomness import Randomness
from pallets.session import GenesisValidator, Session
from pallets.staking import STAKING_POT, Genesis, Parameters, Staker, Staking
from pallets.staking.records import bonding_eras
from pallets.system import System
from pallets.transaction_payment import FEE_POT, TransactionPayment
from runtime.crypto.keys import Keypair
from runtime.types.primitives import OPEN, AccountId
from tests.pallets.support.ledger import Ledger

PALLETS = (
    System,
    Balances,
    TransactionPayment,
    Authorship,
    Randomness,
    Staking,
    Offences,
    Session,
)
SESSIONS_PER_ERA = 3
BONDING_ERAS = bonding_eras(SESSIONS_PER_ERA)
ENDOWMENT = 10_000 * OPEN
STAKE = 1_000 * OPEN
POT = 50_000 * OPEN

PAIRS = tuple(Keypair.from_uri(f"//Validator{index}") for index in range(12))
PEOPLE = tuple(AccountId(pair.account) for pair in PAIRS)
PARAMETERS = Parameters(
    minimum_validator_bond=100 * OPEN,
    minimum_nominator_bond=10 * OPEN,
    validator_count=4,
    fee_permille=500,
    pot_millionths=1_000,
)


class Staked(Ledger):
    """A ledger whose sessions are blocks, with stakers from genesis on."""

    def __init__(
        self,
        stakers: Sequence[Staker] = (),
        *,
        parameters: Parameters = PARAMETERS,
        pot: int = POT,
        sessions_per_era: int = SESSIONS_PER_ERA,
    ) -> None:
        keys = session.Genesis(
            tuple(GenesisValidator(who, AccountId(who)) for who in PEOPLE), epoch_blocks=1
        )
        super().__init__(
            PALLETS,
            endowed=[(STAKING_POT, pot), *((who, ENDOWMENT) for who in PEOPLE)],
            Staking=Genesis(tuple(stakers), sessions_per_era, parameters),
            Session=keys,
        )
        self.staking = self.pallet(Staking)
        self.balances = self.pallet(Balances)
        self.session = self.pallet(Session)

    def __enter__(self) -> Staked:
        return self

    def next_era(self, count: int = 1) -> None:
        """Go on until another era has begun."""
        for _ in range(count):
            era = self.staking.active()
            while self.staking.active() == era:
                self.next_block()

    def pay_fees(self, amount: int, who: AccountId = PEOPLE[-1]) -> None:
        """Fill the fee pot."""
        self.balances.transfer(who, FEE_POT, amount)

    def bonded(self, who: AccountId) -> int:
        """Return what an account has at stake or on its way out."""
        return self.balances.held(HoldReason.Staking, who)

    def owned(self, who: AccountId) -> int:
        """Return all that belongs to an account."""
        return self.balances.free(who) + self.bonded(who)
