"""Prices: what settling an epoch costs its server, and from what on it has to have one settled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.shared.documents import Settle
from runtime.types.primitives import ZERO_HASH, AccountId

if TYPE_CHECKING:
    from pallets.attribution import Attribution


def settlement_price(attribution: Attribution, model: int, receipts: int) -> int:
    """Return what the settlement of an epoch of so many receipts costs, in planck."""
    parameters = attribution.governed.get()
    spec = Settle(
        model=model,
        server=AccountId(ZERO_HASH),
        epoch=0,
        receipts_root=ZERO_HASH,
        receipts=receipts,
        fees_planck=0,
        pool_planck=0,
        bound_milli=parameters.bound_milli,
        draws=parameters.draws,
        text_blocks=parameters.text_blocks,
    )
    price = attribution.jobs.price(spec)
    assert price is not None, "a settlement has a price whatever its data"
    return price + receipts * parameters.price_receipt_planck


def duty_planck(attribution: Attribution, model: int) -> int:
    """Return how much has to be due of a model before its server has to close an epoch, in planck:
    the price of settling one from which as many receipts are drawn as from any."""
    return settlement_price(attribution, model, attribution.governed.get().draws)
