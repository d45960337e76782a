"""Declarations: the receipts that a server closes an epoch with, checked before a job settles them.

Rules that hold here: an epoch belongs to a model and a server, and nobody else closes it; it has
all that was redeemed since the last close, so that a server leaves nothing out that it does not
want to be looked at (what came before the model opened is closed first, and may be given up);
declared fees do not exceed, with those of the server's other epochs, the bond that answers for
them; a failed epoch is closed again, with the same receipts and the same draw, before the next one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pallets.attribution import ledgers
from pallets.attribution.prices import settlement_price
from pallets.attribution.records import Epoch, EpochKey, EpochState, LedgerKey
from runtime.shared.documents import Settle
from runtime.types.primitives import AccountId, Hash

if TYPE_CHECKING:
    from pallets.attribution import Attribution


@dataclass(frozen=True, slots=True)
class Declaration:
    """The receipts of an epoch: root, number, fees and file; `missing_planck` was redeemed and has
    no receipts any more."""

    receipts_root: Hash
    receipts: int
    fees_planck: int
    receipts_blob: Hash
    missing_planck: int = 0


def close(attribution: Attribution, key: LedgerKey, declared: Declaration) -> None:
    """Close the current epoch of a ledger. Raises UnknownModel, NotIndexed, GateClosed,
    EpochSettling, EpochFailed, NothingToSettle, TooManyReceipts, FeesExceedPool, FeesMissing,
    FeesExceedBond, and what opening the job raises."""
    model, server = key
    ledger = attribution.ledgers.get(key)
    _check_model(attribution, model)
    if ledger.settling is not None:
        raise attribution.EpochSettling
    epoch = ledger.next_epoch
    if attribution.first_unsettled_epoch(model, server) < epoch:
        raise attribution.EpochFailed
    is_given_up = not declared.receipts and not declared.fees_planck and ledger.early_planck
    if not is_given_up and not (declared.receipts and declared.fees_planck):
        raise attribution.NothingToSettle
    if declared.receipts > attribution.governed.get().receipts_maximum:
        raise attribution.TooManyReceipts
    if declared.fees_planck > ledger.next_planck:
        raise attribution.FeesExceedPool
    if declared.fees_planck + declared.missing_planck != ledger.next_planck:
        raise attribution.FeesMissing
    ledgers.drop_missing(attribution, key, declared.missing_planck)
    if is_given_up:
        ledgers.begin_next(attribution, key, epoch)
    else:
        _settle(attribution, (model, server, epoch), declared, former=None)


def close_again(attribution: Attribution, key: EpochKey, declared: Declaration) -> None:
    """Close a failed epoch with what it was closed with: else a server that has seen which receipts
    are drawn could let the settlement fail until the draw misses its lies. Raises UnknownModel,
    NotIndexed, GateClosed, NotFailed, ReceiptsDiffer, FeesExceedBond, and what opening the job
    raises."""
    _check_model(attribution, key[0])
    former = attribution.epochs.get(key)
    if former is None or former.state is not EpochState.Failed:
        raise attribution.NotFailed
    if (declared.receipts_root, declared.receipts, declared.fees_planck) != (
        former.receipts_root,
        former.receipts,
        former.fees_planck,
    ):
        raise attribution.ReceiptsDiffer
    _settle(attribution, key, declared, former)


def _check_model(attribution: Attribution, model: int) -> None:
    """Check that a model's epochs can be settled, also where it is trained on fewer rows since it
    opened. Raises UnknownModel, NotIndexed, GateClosed."""
    if attribution.models.get(model) is None:
        raise attribution.UnknownModel
    if not attribution.index_jobs.get(model):
        raise attribution.NotIndexed
    if not attribution.has_opened(model):
        raise attribution.GateClosed


def _settle(
    attribution: Attribution, key: EpochKey, declared: Declaration, former: Epoch | None
) -> None:
    """Open the settle job of an epoch and move the epoch's money out of the ledger."""
    model, server, epoch = key
    at_risk = _at_risk(attribution, server, declared.fees_planck)
    ledger = attribution.ledgers.get((model, server))
    pool = ledger.pool * declared.fees_planck // ledger.redeemed_planck
    job = _open_job(attribution, key, declared, pool, former)
    now = attribution.system.current_number()
    closed = replace(
        ledger,
        epoch=max(ledger.epoch, epoch + 1),
        pool=ledger.pool - pool,
        redeemed_planck=ledger.redeemed_planck - declared.fees_planck,
        settling=epoch,
        early_planck=0,
    )
    attribution.ledgers.put((model, server), closed)
    attribution.at_risk.put(server, at_risk)
    ledgers.count_unsettled(attribution, server, closed.due_planck - ledger.due_planck)
    attribution.opened.put(model, True)
    record = Epoch(
        state=EpochState.Settling,
        job=job,
        closed_at=now if former is None else former.closed_at,
        receipts_root=declared.receipts_root,
        receipts=declared.receipts,
        fees_planck=declared.fees_planck,
        pool_planck=pool,
        receipts_blob=declared.receipts_blob,
    )
    attribution.epochs.put(key, record)
    attribution.emit(attribution.EpochClosed(model, server, epoch, job, declared.fees_planck))


def _at_risk(attribution: Attribution, server: AccountId, fees_planck: int) -> int:
    """Return the fees that a server's bond answers for with another epoch. Raises
    FeesExceedBond."""
    at_risk = attribution.at_risk.get(server) + fees_planck
    if at_risk > attribution.inference.bond_of(server):
        raise attribution.FeesExceedBond
    return at_risk


def _open_job(
    attribution: Attribution,
    key: EpochKey,
    declared: Declaration,
    pool_planck: int,
    former: Epoch | None,
) -> int:
    """Open the job that settles an epoch, paid by its server; one that failed draws the same
    receipts again. Returns its number."""
    model, server, epoch = key
    parameters = attribution.governed.get()
    spec = Settle(
        model=model,
        server=server,
        epoch=epoch,
        receipts_root=declared.receipts_root,
        receipts=declared.receipts,
        fees_planck=declared.fees_planck,
        pool_planck=pool_planck,
        bound_milli=parameters.bound_milli,
        draws=parameters.draws,
        text_blocks=parameters.text_blocks,
    )
    escrow = settlement_price(attribution, model, declared.receipts)
    failed = None if former is None else attribution.jobs.job(former.job)
    return attribution.jobs.open(spec, server, escrow, None if failed is None else failed.seed)
