"""Epochs: closing, settling or failing, and the way of each planck of their fees.

Rules that hold here: a closed epoch's fees leave the pool at once, so that they are settled once;
they become earnings and commons to the last planck, or go back to the pool. A settlement that does
not repeat what the epoch was closed with, or whose entries are out of order, is refused whole.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from pallets.attribution.records import (
    PERMILLE,
    Earning,
    Epoch,
    EpochState,
    Ledger,
    Penalty,
    decayed,
)
from runtime.shared.documents import Settle, Settled, SettlementEntry, output_root
from runtime.shared.shares import payout
from runtime.types.primitives import AccountId, Hash

if TYPE_CHECKING:
    from pallets.attribution import Attribution


def check_model(attribution: Attribution, model: int) -> None:
    """Check that a model's epochs can be settled. Raises UnknownModel, GateClosed, NotIndexed."""
    if attribution.models.get(model) is None:
        raise attribution.UnknownModel
    if attribution.models.rows_of(model) < attribution.governed.get().rows_minimum:
        raise attribution.GateClosed
    if not attribution.index_jobs.get(model):
        raise attribution.NotIndexed


def close(
    attribution: Attribution,
    who: AccountId,
    model: int,
    epoch: int,
    receipts_root: Hash,
    receipts: int,
    fees_planck: int,
    receipts_blob: Hash,
) -> None:
    """Open the SETTLE job of an epoch, for fees that the closing server's own channels brought.

    A server that names a false root can thus misdirect only what its own answers earned. Raises
    EpochSettling, NothingToSettle, TooManyReceipts, NotServer, FeesExceedPool, and what opening
    the job raises.
    """
    ledger, parameters = attribution.ledgers.get(model), attribution.governed.get()
    if ledger.settling is not None:
        raise attribution.EpochSettling
    if not receipts or not fees_planck:
        raise attribution.NothingToSettle
    if receipts > parameters.receipts_maximum:
        raise attribution.TooManyReceipts
    brought = attribution.brought.get((model, who))
    if not brought:
        raise attribution.NotServer
    if fees_planck > brought:
        raise attribution.FeesExceedPool
    spec = Settle(model, epoch, receipts_root)
    price = attribution.jobs.price(spec)
    assert price is not None, "a settlement has a price whatever its data"
    job = attribution.jobs.open(spec, who, price + receipts * parameters.price_receipt_planck)
    following = max(ledger.epoch, epoch + 1)
    pool = ledger.pool - fees_planck
    attribution.ledgers.put(model, replace(ledger, epoch=following, pool=pool, settling=epoch))
    _put_brought(attribution, model, who, brought - fees_planck)
    closed_at = attribution.system.current_number()
    attribution.epochs.put(
        (model, epoch),
        Epoch(
            state=EpochState.Settling,
            server=who,
            job=job,
            closed_at=closed_at,
            receipts_root=receipts_root,
            receipts=receipts,
            fees_planck=fees_planck,
            receipts_blob=receipts_blob,
        ),
    )
    attribution.emit(attribution.EpochClosed(model, epoch, job, fees_planck))


def settle(attribution: Attribution, model: int, epoch: int, output: Settled) -> None:
    """Pay an epoch out. Raises NotSettling, OutputDiffers, EntriesUnsorted."""
    ledger, record = attribution.ledgers.get(model), attribution.epochs.get((model, epoch))
    if record is None or record.state is not EpochState.Settling:
        raise attribution.NotSettling
    repeated = (output.receipts_root, output.receipts, output.fees_planck)
    if repeated != (record.receipts_root, record.receipts, record.fees_planck):
        raise attribution.OutputDiffers
    accounts = [entry.contributor for entry in output.entries]
    if any(first >= second for first, second in pairwise(accounts)):
        raise attribution.EntriesUnsorted
    # All scores are known before anything is paid, so the order of entries decides no planck.
    earned, commons = payout(
        record.fees_planck, output.entries, attribution.governed.get().bound_milli
    )
    assert sum(earned) + commons == record.fees_planck, "a payout loses nothing"
    for account, amount in zip(accounts, earned, strict=True):
        _credit_earning(attribution, model=model, epoch=epoch, account=account, amount=amount)
    _add_penalties(attribution, model, epoch, output.entries)
    attribution.ledgers.put(model, replace(ledger, commons=ledger.commons + commons, settling=None))
    settled = replace(
        record,
        state=EpochState.Settled,
        paid_planck=sum(earned),
        commons_planck=commons,
        contributors=sum(amount > 0 for amount in earned),
        output=output_root(output),
    )
    attribution.epochs.put((model, epoch), settled)
    attribution.emit(attribution.EpochSettled(model, epoch, sum(earned), commons))


def refund_fees(attribution: Attribution, model: int, epoch: int) -> None:
    """Refund the fees of an epoch whose settlement failed to the pool and to its server's account
    there; it can be closed again."""
    record = attribution.epochs.get((model, epoch))
    assert record is not None, "a settle job belongs to a closed epoch"
    assert record.state is EpochState.Settling, "an epoch has one settle job at a time"
    ledger: Ledger = attribution.ledgers.get(model)
    pool = ledger.pool + record.fees_planck
    attribution.ledgers.put(model, replace(ledger, pool=pool, settling=None))
    again = attribution.brought.get((model, record.server)) + record.fees_planck
    _put_brought(attribution, model, record.server, again)
    attribution.epochs.put((model, epoch), replace(record, state=EpochState.Failed))
    attribution.emit(attribution.SettlementFailed(model, epoch))


def _put_brought(attribution: Attribution, model: int, server: AccountId, amount: int) -> None:
    if amount:
        attribution.brought.put((model, server), amount)
    else:
        attribution.brought.remove((model, server))


def _credit_earning(
    attribution: Attribution, model: int, epoch: int, account: AccountId, amount: int
) -> None:
    if not amount:
        return
    earning = attribution.earned.get(account)
    credited = Earning(earning.claimable + amount, earning.lifetime + amount)
    attribution.earned.put(account, credited)
    attribution.emit(attribution.Earned(model, epoch, account, amount))


def _add_penalties(
    attribution: Attribution, model: int, epoch: int, entries: tuple[SettlementEntry, ...]
) -> None:
    """Add to the penalties of those whose data made the answers worse, in permille of all."""
    decay = attribution.governed.get().decay_permille
    whole = sum(abs(entry.score) for entry in entries)
    for entry in entries:
        if entry.score >= 0:
            continue
        key = (model, entry.contributor)
        former = attribution.penalties.get(key)
        added = -entry.score * PERMILLE // whole
        points = decayed(former, max(epoch, former.epoch), decay) + added
        attribution.penalties.put(key, Penalty(points, max(epoch, former.epoch)))
        attribution.emit(attribution.Penalised(model, entry.contributor, points))
