"""Epochs: closing, settling, convicting or failing, and the way of each planck of their pool.

    not closed in time   -> its server is slashed for what is due, the pool goes to the commons
    closed by its server -> settled: shares and commons
                         -> convicted: the server's bond is slashed, the pool goes to the commons
                         -> failed: the pool goes back, the server may close the epoch again

Rules that hold here: an epoch belongs to a model and a server, and nobody else closes it; it has
all that was redeemed since the last close, and a server is slashed by what is due of it and not
declared, so that none leaves out what it does not want to be looked at. Not due is what it redeemed
before the model paid contributors: no receipt is owed for that. Declared fees do not exceed, with
those of the server's other epochs, the bond that answers for them; a failed epoch is closed again,
with the same receipts and the same draw, before the next one; a server gains nothing by a false
declaration, because the pool then goes to the commons and the executors are paid from the escrow
that it posted.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from pallets.attribution import shares
from pallets.attribution.records import Epoch, EpochState, Ledger
from runtime.shared.documents import (
    FAULTS_MAX,
    SHARES_PUSHED_MAX,
    Fault,
    FaultKind,
    Settle,
    Settled,
)
from runtime.types.primitives import AccountId, Hash

if TYPE_CHECKING:
    from pallets.attribution import Attribution

SLASH_FACTOR: Final = 10
"""A false receipt costs its server at least so many times its fee."""
REPAID: Final = frozenset(
    {FaultKind.Receipt, FaultKind.Index, FaultKind.Text, FaultKind.Sketch, FaultKind.Answer}
)
"""Faults of an answer that an asker really paid, and gets back out of the bond. Other receipts may
have an asker that the server invented, and what would be paid to it came back to the server."""


def check_model(attribution: Attribution, model: int, server: AccountId) -> None:
    """Check that a model's epochs can be settled. What was redeemed while the model paid
    contributors stays due, also where it is trained on fewer rows since. Raises UnknownModel,
    NotIndexed, GateClosed."""
    if attribution.models.get(model) is None:
        raise attribution.UnknownModel
    if not attribution.index_jobs.get(model):
        raise attribution.NotIndexed
    is_due = attribution.ledgers.get((model, server)).due_from is not None
    if not is_due and not attribution.is_open(model):
        raise attribution.GateClosed


def close(
    attribution: Attribution,
    server: AccountId,
    model: int,
    epoch: int,
    receipts_root: Hash,
    receipts: int,
    fees_planck: int,
    receipts_blob: Hash,
    missing_planck: int = 0,
) -> None:
    """Open the SETTLE job of an epoch; `missing_planck` is for one that is closed first.

    Raises ReceiptsDiffer, EpochFailed, EpochSettling, NothingToSettle, TooManyReceipts,
    FeesExceedPool, FeesMissing, FeesExceedBond, and what opening the job raises.
    """
    ledger, parameters = attribution.ledgers.get((model, server)), attribution.governed.get()
    former = attribution.epochs.get((model, server, epoch))
    if former is not None and not _is_same(former, receipts_root, receipts, fees_planck):
        raise attribution.ReceiptsDiffer
    if ledger.settling is not None:
        raise attribution.EpochSettling
    if former is None and attribution.first_unsettled_epoch(model, server) < epoch:
        raise attribution.EpochFailed
    if not receipts or not fees_planck:
        raise attribution.NothingToSettle
    if receipts > parameters.receipts_maximum:
        raise attribution.TooManyReceipts
    if fees_planck > ledger.redeemed_planck:
        raise attribution.FeesExceedPool
    if former is None:
        if fees_planck + missing_planck != ledger.redeemed_planck:
            raise attribution.FeesMissing
        ledger = _without_missing(attribution, (model, server), ledger, fees_planck)
    at_risk = _at_risk(attribution, server, fees_planck)
    pool = ledger.pool * fees_planck // ledger.redeemed_planck
    spec = Settle(
        model=model,
        server=server,
        epoch=epoch,
        receipts_root=receipts_root,
        receipts=receipts,
        fees_planck=fees_planck,
        pool_planck=pool,
        bound_milli=parameters.bound_milli,
        draws=parameters.draws,
        text_blocks=parameters.text_blocks,
    )
    price = attribution.jobs.price(spec)
    assert price is not None, "a settlement has a price whatever its data"
    escrow = price + receipts * parameters.price_receipt_planck
    job = attribution.jobs.open(spec, server, escrow, _seed_of(attribution, former))
    closed = Ledger(
        epoch=max(ledger.epoch, epoch + 1),
        pool=ledger.pool - pool,
        redeemed_planck=ledger.redeemed_planck - fees_planck,
        settling=epoch,
        due_planck=max(0, ledger.due_planck - fees_planck),
        due_from=ledger.due_from,
    )
    attribution.ledgers.put((model, server), closed)
    attribution.at_risk.put(server, at_risk)
    count_unsettled(attribution, server, closed.due_planck - ledger.due_planck)
    attribution.opened.put(model, True)
    record = Epoch(
        state=EpochState.Settling,
        job=job,
        closed_at=attribution.system.current_number(),
        receipts_root=receipts_root,
        receipts=receipts,
        fees_planck=fees_planck,
        pool_planck=pool,
        receipts_blob=receipts_blob,
    )
    attribution.epochs.put((model, server, epoch), record)
    attribution.emit(attribution.EpochClosed(model, server, epoch, job, fees_planck))


def _without_missing(
    attribution: Attribution, key: tuple[int, AccountId], ledger: Ledger, fees_planck: int
) -> Ledger:
    """Return the ledger without what its server has redeemed and declares no receipts for: its part
    of the pool goes to the commons. What is due is declared first, and slashed where it is not."""
    model, server = key
    if fees_planck == ledger.redeemed_planck:
        return ledger
    lost = ledger.pool - ledger.pool * fees_planck // ledger.redeemed_planck
    _add_commons(attribution, model, lost)
    due = min(ledger.due_planck, fees_planck)
    attribution.inference.slash_server(server, ledger.due_planck - due, ())
    count_unsettled(attribution, server, due - ledger.due_planck)
    return replace(ledger, pool=ledger.pool - lost, redeemed_planck=fees_planck, due_planck=due)


def count_unsettled(attribution: Attribution, server: AccountId, change: int) -> None:
    """Count what is due of all ledgers of a server."""
    left = attribution.unsettled.get(server) + change
    if left:
        attribution.unsettled.put(server, left)
    else:
        attribution.unsettled.remove(server)


def report_overdue(attribution: Attribution, model: int, server: AccountId) -> None:
    """Slash a server that has not closed its epoch in time by what is due; the pool goes to the
    commons, and the receipts of the epoch can be settled no more. Raises NotOverdue."""
    ledger = attribution.ledgers.get((model, server))
    time = attribution.governed.get().close_blocks
    if (
        ledger.due_from is None
        or ledger.settling is not None
        or attribution.system.current_number() <= ledger.due_from + time
    ):
        raise attribution.NotOverdue
    slashed = attribution.inference.slash_server(server, ledger.due_planck, ())
    _add_commons(attribution, model, ledger.pool)
    count_unsettled(attribution, server, -ledger.due_planck)
    attribution.ledgers.put((model, server), Ledger(epoch=ledger.epoch + 1))
    attribution.emit(
        attribution.EpochOverdue(
            model=model,
            server=server,
            epoch=ledger.epoch,
            slashed_planck=slashed,
            commons_planck=ledger.pool,
        )
    )


def _at_risk(attribution: Attribution, server: AccountId, fees_planck: int) -> int:
    """Return the fees that a server's bond answers for with another epoch. Raises
    FeesExceedBond."""
    at_risk = attribution.at_risk.get(server) + fees_planck
    if at_risk > attribution.inference.bond_of(server):
        raise attribution.FeesExceedBond
    return at_risk


def _is_same(former: Epoch, receipts_root: Hash, receipts: int, fees_planck: int) -> bool:
    """Return whether an epoch is closed again with what it was closed with. Else a server that has
    seen which receipts are drawn could let the settlement fail until the draw misses its lies."""
    declared = (former.receipts_root, former.receipts, former.fees_planck)
    return declared == (receipts_root, receipts, fees_planck)


def _seed_of(attribution: Attribution, former: Epoch | None) -> Hash | None:
    """Return the seed of the failed settlement of an epoch: failing draws no other receipts."""
    job = None if former is None else attribution.jobs.job(former.job)
    return None if job is None else job.seed


def settle(attribution: Attribution, spec: Settle, output: Settled) -> None:
    """Pay a settled epoch out, or convict its server. Raises NotSettling, OutputDiffers."""
    key = (spec.model, spec.server, spec.epoch)
    record = _settling(attribution, key)
    if output.receipts_root != record.receipts_root or len(output.faults) > FAULTS_MAX:
        raise attribution.OutputDiffers
    if output.faults:
        false_planck = sum(fault.fee_planck for fault in output.faults)
        convict(attribution, spec, false_planck, _wronged(record, output.faults))
        return
    positions = [largest.position for largest in output.largest]
    pushed = sum(largest.share.planck for largest in output.largest)
    if (
        output.shares_planck > record.pool_planck
        or pushed > output.shares_planck
        or len(positions) > SHARES_PUSHED_MAX
        or any(first >= second for first, second in pairwise(positions))
        or (positions and positions[-1] >= output.shares_count)
    ):
        raise attribution.OutputDiffers
    commons = record.pool_planck - output.shares_planck
    _add_commons(attribution, spec.model, commons)
    settled = replace(
        record,
        state=EpochState.Settled,
        shares=output.shares,
        shares_root=output.shares_root,
        shares_count=output.shares_count,
        shares_planck=output.shares_planck,
        claimed_planck=pushed,
    )
    attribution.epochs.put(key, settled)
    _end(attribution, key)
    for largest in output.largest:
        shares.mark_claimed(attribution, key, largest.position)
        shares.credit(attribution, key, largest.share)
    attribution.emit(
        attribution.EpochSettled(
            model=spec.model,
            server=spec.server,
            epoch=spec.epoch,
            paid_planck=output.shares_planck,
            commons_planck=commons,
        )
    )


def _wronged(record: Epoch, faults: tuple[Fault, ...]) -> tuple[tuple[AccountId, int], ...]:
    """Return whom a conviction repays and how much: together no more than the epoch's askers paid,
    so that executors who agree on a lie cannot share a whole bond with an asker of theirs."""
    left, wronged = record.fees_planck, []
    for fault in faults:
        if fault.kind in REPAID:
            owed = min(fault.fee_planck, left)
            wronged.append((fault.asker, owed))
            left -= owed
    return tuple(wronged)


def convict(
    attribution: Attribution,
    spec: Settle,
    false_planck: int,
    wronged: tuple[tuple[AccountId, int], ...] = (),
) -> None:
    """Slash the server of false or withheld receipts by all that the epoch earned, or more; the
    pool goes to the commons. Raises NotSettling."""
    key = (spec.model, spec.server, spec.epoch)
    record = _settling(attribution, key)
    amount = max(SLASH_FACTOR * false_planck, record.fees_planck)
    slashed = attribution.inference.slash_server(spec.server, amount, wronged)
    _add_commons(attribution, spec.model, record.pool_planck)
    attribution.epochs.put(key, replace(record, state=EpochState.Convicted))
    _end(attribution, key)
    attribution.emit(
        attribution.EpochConvicted(
            model=spec.model,
            server=spec.server,
            epoch=spec.epoch,
            slashed_planck=slashed,
            commons_planck=record.pool_planck,
        )
    )


def give_pool_back(attribution: Attribution, spec: Settle) -> None:
    """Put the pool of an epoch whose settlement failed back; its server may close it again."""
    key = (spec.model, spec.server, spec.epoch)
    record = _settling(attribution, key)
    ledger = attribution.ledgers.get(key[:2])
    refunded = replace(
        ledger,
        pool=ledger.pool + record.pool_planck,
        redeemed_planck=ledger.redeemed_planck + record.fees_planck,
        due_planck=ledger.due_planck + record.fees_planck,
    )
    attribution.ledgers.put(key[:2], refunded)
    attribution.epochs.put(key, replace(record, state=EpochState.Failed))
    _end(attribution, key)
    count_unsettled(attribution, spec.server, record.fees_planck)
    attribution.emit(attribution.SettlementFailed(spec.model, spec.server, spec.epoch))


def _settling(attribution: Attribution, key: tuple[int, AccountId, int]) -> Epoch:
    record = attribution.epochs.get(key)
    if record is None or record.state is not EpochState.Settling:
        raise attribution.NotSettling
    return record


def _end(attribution: Attribution, key: tuple[int, AccountId, int]) -> None:
    """Free the ledger for the next close, whose time runs from now where there is one to do."""
    model, server, _ = key
    ledger, record = attribution.ledgers.get((model, server)), attribution.epochs.get(key)
    assert record is not None, "an epoch that ends exists"
    due_from = attribution.system.current_number() if ledger.due_planck else None
    freed = replace(ledger, settling=None, due_from=due_from)
    attribution.ledgers.put((model, server), freed)
    left = attribution.at_risk.get(server) - record.fees_planck
    if left:
        attribution.at_risk.put(server, left)
    else:
        attribution.at_risk.remove(server)


def _add_commons(attribution: Attribution, model: int, amount: int) -> None:
    if amount:
        attribution.commons.put(model, attribution.commons.get(model) + amount)
