"""What Inference needs around it: one model that may be asked, and a fund that only counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pallets.attribution import ATTRIBUTION_POT
from pallets.balances import Balances
from pallets.inference import Inference
from pallets.system import System
from pallets.transaction_payment import TransactionPayment
from runtime.frame.pallet import Pallet
from runtime.types.primitives import AccountId
from tests.pallets.support.ledger import ALICE, BOB, CHARLIE, DAVE, ENDOWMENT, EVE, Ledger

MODEL_OWNER = EVE


@dataclass
class Record:
    owner: AccountId
    rate_in_planck: int = 500
    rate_out_planck: int = 1_500


class Models(Pallet, index=21):
    """Stands in for the pallet: model 0 is published, there is no other."""

    owner: AccountId = MODEL_OWNER

    def get(self, model: int) -> Record | None:
        return Record(self.owner) if model == 0 else None

    def may_use(self, account: AccountId, model: int) -> bool:
        return model == 0


class Attribution(Pallet, index=23):
    """Stands in for the pallet: counts what it is told to have received."""

    funded: dict[int, int]

    def build_genesis(self) -> None:
        self.funded = {}
        system = self._machine.pallets["System"]
        assert isinstance(system, System)
        system.create_pot(ATTRIBUTION_POT)

    def fund(self, model: int, amount: int, server: AccountId) -> None:
        self.funded[model] = self.funded.get(model, 0) + amount


def market(extra: tuple[tuple[AccountId, int], ...] = (), **genesis: Any) -> Ledger:
    """Return a ledger of Inference and what it needs."""
    endowed = tuple((who, ENDOWMENT) for who in (ALICE, BOB, CHARLIE, DAVE, EVE)) + extra
    pallets = (System, Balances, TransactionPayment, Models, Attribution, Inference)
    return Ledger(pallets, endowed=endowed, **genesis)
