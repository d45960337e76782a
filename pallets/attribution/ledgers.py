"""Ledgers: what a server has redeemed of a model and not closed, and what it costs to leave it so.

    funded by each redemption -> closed with an epoch, which takes its part of the pool
                              -> not closed in time: slashed, the pool goes to the commons
                              -> its server has left: swept into the commons
                              -> the model retired before it paid anybody: given back to askers

The rule of what is slashed: what is due and not declared. Due is what was redeemed since the model
first had the rows that attribution pays for, and what a failed epoch had declared. What came early
is an epoch of its own, the first, and no receipt is owed for it: in one epoch with what is due it
would stand for receipts that a server likes to leave out.

Nobody has to close an epoch that is not worth its settlement, which its server pays: an asker would
else cost an honest server much by an answer for next to nothing. It grows on until it is.

A model that has opened once stays due: a training on fewer rows would else free its servers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pallets.attribution.prices import duty_planck
from pallets.attribution.records import EpochState, Ledger, LedgerKey
from runtime.frame.dispatch import DispatchFailed
from runtime.types.primitives import AccountId

if TYPE_CHECKING:
    from pallets.attribution import Attribution

ATTRIBUTION_POT: Final = AccountId(b"modlopen/attribution".ljust(32, b"\0"))
"""Where the tokens of pools, unclaimed shares and commons lie."""


def fund(attribution: Attribution, key: LedgerKey, redeemed_planck: int, part_planck: int) -> int:
    """Count a redemption and the contributors' part of it; returns the epoch that it counts for."""
    model, server = key
    ledger = attribution.ledgers.get(key)
    funded = replace(
        ledger,
        pool=ledger.pool + part_planck,
        redeemed_planck=ledger.redeemed_planck + redeemed_planck,
    )
    if not attribution.has_opened(model):
        funded = replace(funded, early_planck=funded.redeemed_planck)
    elif redeemed_planck:
        attribution.opened.put(model, True)  # also by a parameter that root may raise again
        is_first = ledger.early_planck and not ledger.due_planck
        funded = replace(funded, epoch=ledger.epoch + 1) if is_first else funded
        funded = timed(attribution, key, funded)
    attribution.ledgers.put(key, funded)
    attribution.accounted.put(attribution.accounted.get() + part_planck)
    count_unsettled(attribution, server, funded.due_planck - ledger.due_planck)
    attribution.emit(attribution.Funded(model, server, part_planck))
    return funded.epoch


def timed(attribution: Attribution, key: LedgerKey, ledger: Ledger) -> Ledger:
    """Return a ledger whose time to close runs from now, if it does not run and there is a duty."""
    if ledger.due_from is not None or not ledger.due_planck:
        return ledger
    if ledger.due_planck < duty_planck(attribution, key[0]):
        return ledger
    return replace(ledger, due_from=attribution.system.current_number())


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
    rest = replace(ledger, pool=ledger.pool - amount, redeemed_planck=left, early_planck=left)
    attribution.ledgers.put(key, rest)
    try:
        pay_out(attribution, asker, amount)
    except DispatchFailed:
        add_commons(attribution, key[0], amount)
        return 0
    return amount


def drop_missing(attribution: Attribution, key: LedgerKey, missing_planck: int) -> None:
    """Take what a server has redeemed and declares no receipts for out of its ledger: the part of
    the pool goes to the commons, and it is slashed unless it came early."""
    if not missing_planck:
        return
    model, server = key
    ledger = attribution.ledgers.get(key)
    left = ledger.redeemed_planck - missing_planck
    lost = ledger.pool - ledger.pool * left // ledger.redeemed_planck
    early = max(0, ledger.early_planck - missing_planck)
    declared = replace(ledger, pool=ledger.pool - lost, redeemed_planck=left, early_planck=early)
    attribution.ledgers.put(key, declared)
    missing_due = ledger.due_planck - declared.due_planck
    attribution.inference.slash_server(server, missing_due, ())
    count_unsettled(attribution, server, -missing_due)
    add_commons(attribution, model, lost)


def begin_next(attribution: Attribution, key: LedgerKey, epoch: int) -> None:
    """Leave an epoch out of which nothing is declared: what is redeemed now is of the next."""
    ledger = attribution.ledgers.get(key)
    attribution.ledgers.put(key, replace(ledger, epoch=max(ledger.epoch, epoch + 1)))


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
