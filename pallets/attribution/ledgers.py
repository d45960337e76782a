"""Ledgers: what a server has redeemed of a model and not closed, and what it costs to leave it so.

    funded by each redemption -> closed with an epoch, which takes its part of the pool
                              -> not closed in time: slashed, the pool goes to the commons
                              -> its server has left: swept into the commons
                              -> the model retired before it paid anybody: given back to askers

The rule of what is slashed: what is due and not declared. Due is what was redeemed since the model
first had the rows that attribution pays for, and what a failed epoch had declared; no receipt is
owed for what was redeemed before. What is declared counts for what is due first.

A model that has opened once stays due: a training on fewer rows would else free its servers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pallets.attribution.records import EpochState, Ledger, LedgerKey
from runtime.frame.dispatch import DispatchFailed
from runtime.types.primitives import AccountId

if TYPE_CHECKING:
    from pallets.attribution import Attribution

ATTRIBUTION_POT: Final = AccountId(b"modlopen/attribution".ljust(32, b"\0"))
"""Where the tokens of pools, unclaimed shares and commons lie."""


def fund(attribution: Attribution, key: LedgerKey, redeemed_planck: int, part_planck: int) -> None:
    """Count a redemption and the contributors' part of it."""
    model, server = key
    ledger = attribution.ledgers.get(key)
    due = redeemed_planck if attribution.has_opened(model) else 0
    is_first = due and ledger.due_from is None
    funded = replace(
        ledger,
        pool=ledger.pool + part_planck,
        redeemed_planck=ledger.redeemed_planck + redeemed_planck,
        due_planck=ledger.due_planck + due,
        due_from=attribution.system.current_number() if is_first else ledger.due_from,
    )
    attribution.ledgers.put(key, funded)
    attribution.accounted.put(attribution.accounted.get() + part_planck)
    if due:
        attribution.opened.put(model, True)  # also by a parameter that root may raise again
    count_unsettled(attribution, server, due)
    attribution.emit(attribution.Funded(model, server, part_planck))


def give_back(
    attribution: Attribution, key: LedgerKey, redeemed_planck: int, asker: AccountId
) -> int:
    """Pay the part of a pool that a channel brought back to its asker; returns it. It goes to the
    commons where the asker's account is gone and the amount too small to make it anew."""
    ledger = attribution.ledgers.get(key)
    assert redeemed_planck <= ledger.redeemed_planck, "no epoch was closed, so all is here"
    assert not ledger.due_planck, "nothing is due of a model that never opened"
    amount = ledger.pool * redeemed_planck // ledger.redeemed_planck
    left = ledger.redeemed_planck - redeemed_planck
    rest = replace(ledger, pool=ledger.pool - amount, redeemed_planck=left)
    attribution.ledgers.put(key, rest)
    try:
        pay_out(attribution, asker, amount)
    except DispatchFailed:
        add_commons(attribution, key[0], amount)
        return 0
    return amount


def drop_missing(attribution: Attribution, key: LedgerKey, fees_planck: int) -> None:
    """Take what a server has redeemed and declares no receipts for out of its ledger: the part of
    the pool goes to the commons, and what is due of it is slashed."""
    model, server = key
    ledger = attribution.ledgers.get(key)
    if fees_planck == ledger.redeemed_planck:
        return
    lost = ledger.pool - ledger.pool * fees_planck // ledger.redeemed_planck
    due = min(ledger.due_planck, fees_planck)
    declared = replace(ledger, pool=ledger.pool - lost, redeemed_planck=fees_planck, due_planck=due)
    attribution.ledgers.put(key, declared)
    attribution.inference.slash_server(server, ledger.due_planck - due, ())
    count_unsettled(attribution, server, due - ledger.due_planck)
    add_commons(attribution, model, lost)


def report_overdue(attribution: Attribution, key: LedgerKey) -> None:
    """Slash a server that has not closed its epoch in time; the pool goes to the commons, and the
    receipts of the epoch can be settled no more. Raises NotOverdue."""
    model, server = key
    ledger = attribution.ledgers.get(key)
    time = attribution.governed.get().close_blocks
    if (
        ledger.due_from is None
        or ledger.settling is not None
        or attribution.system.current_number() <= ledger.due_from + time
    ):
        raise attribution.NotOverdue
    slashed = attribution.inference.slash_server(server, ledger.due_planck, ())
    _forfeit(attribution, key, ledger, next_epoch=ledger.epoch + 1)
    attribution.emit(
        attribution.EpochOverdue(
            model=model,
            server=server,
            epoch=ledger.epoch,
            slashed_planck=slashed,
            commons_planck=ledger.pool,
        )
    )


def sweep(attribution: Attribution, key: LedgerKey) -> None:
    """Move the pool of a server that has left into the commons. Raises ServerBonded,
    NothingToSweep."""
    model, server = key
    ledger = attribution.ledgers.get(key)
    if attribution.inference.is_bonded(server):
        raise attribution.ServerBonded
    if not ledger.pool and not ledger.due_planck:
        raise attribution.NothingToSweep
    _forfeit(attribution, key, ledger, next_epoch=ledger.epoch)
    attribution.emit(attribution.PoolSwept(model, server, ledger.pool))


def _forfeit(attribution: Attribution, key: LedgerKey, ledger: Ledger, *, next_epoch: int) -> None:
    """Empty a ledger into the commons. An epoch that failed has ended with it: closed again, it
    would take what is redeemed later."""
    model, server = key
    attribution.ledgers.put(key, Ledger(epoch=next_epoch))
    count_unsettled(attribution, server, -ledger.due_planck)
    add_commons(attribution, model, ledger.pool)
    latest = (model, server, ledger.epoch - 1)
    failed = attribution.epochs.get(latest) if ledger.epoch else None
    if failed is not None and failed.state is EpochState.Failed:
        attribution.epochs.put(latest, replace(failed, state=EpochState.Forfeited))


def count_unsettled(attribution: Attribution, server: AccountId, change: int) -> None:
    """Count what is due of all ledgers of a server."""
    left = attribution.unsettled.get(server) + change
    if left:
        attribution.unsettled.put(server, left)
    else:
        attribution.unsettled.remove(server)


def add_commons(attribution: Attribution, model: int, amount: int) -> None:
    """Add what nobody has a share in to the commons of a model."""
    if amount:
        attribution.commons.put(model, attribution.commons.get(model) + amount)


def pay_out(attribution: Attribution, dest: AccountId, amount: int) -> None:
    """Pay what is accounted for out of the pot."""
    if amount:
        attribution.balances.transfer(ATTRIBUTION_POT, dest, amount)
        attribution.accounted.put(attribution.accounted.get() - amount)
