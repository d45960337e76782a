"""Epochs: closing, settling, convicting or failing, and the way of each planck of their pool.

    not closed in time   -> its server's bond is slashed, the pool goes to the commons
    closed by its server -> settled: shares and commons
                         -> convicted: the server's bond is slashed, the pool goes to the commons
                         -> failed: the pool goes back, the server may close the epoch again

Rules that hold here: an epoch belongs to a model and a server, and nobody else closes it; it shares
what its own receipts brought; declared fees are all that was redeemed since the last close, so that
no server leaves out the receipts that it does not like; the fees of all epochs of a server that are
being settled do not exceed the bond that answers for them; a failed epoch is closed again before
the next one; a server gains nothing by a false declaration, because the pool then goes to the
commons and the executors are paid from the escrow that it posted.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from pallets.attribution import shares
from pallets.attribution.records import Epoch, EpochState, Ledger
from runtime.shared.documents import FAULTS_MAX, SHARES_PUSHED_MAX, FaultKind, Settle, Settled
from runtime.types.primitives import AccountId, Hash

if TYPE_CHECKING:
    from pallets.attribution import Attribution

SLASH_FACTOR: Final = 10
"""A false receipt costs its server at least so many times its fee."""
WRONG_TO_THE_ASKER: Final = frozenset({FaultKind.Receipt, FaultKind.Text, FaultKind.Answer})
"""Faults of an answer that an asker really paid. Other receipts may have an asker that the server
invented, and what would be paid to it came back to the server."""


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
) -> None:
    """Open the SETTLE job of an epoch.

    Raises EpochSettling, NothingToSettle, TooManyReceipts, EpochFailed, FeesExceedPool,
    FeesMissing, FeesExceedBond, and what opening the job raises.
    """
    ledger, parameters = attribution.ledgers.get((model, server)), attribution.governed.get()
    if ledger.settling is not None:
        raise attribution.EpochSettling
    if not receipts or not fees_planck:
        raise attribution.NothingToSettle
    if receipts > parameters.receipts_maximum:
        raise attribution.TooManyReceipts
    _check_fees(attribution, (model, server, epoch), ledger, fees_planck)
    settling = attribution.settling.get(server) + fees_planck
    if settling > attribution.inference.bond_of(server):
        raise attribution.FeesExceedBond
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
    )
    price = attribution.jobs.price(spec)
    assert price is not None, "a settlement has a price whatever its data"
    job = attribution.jobs.open(spec, server, price + receipts * parameters.price_receipt_planck)
    closed = Ledger(
        epoch=max(ledger.epoch, epoch + 1),
        pool=ledger.pool - pool,
        redeemed_planck=ledger.redeemed_planck - fees_planck,
        settling=epoch,
    )
    attribution.ledgers.put((model, server), closed)
    attribution.settling.put(server, settling)
    count_unsettled(attribution, server, -fees_planck)
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


def _check_fees(
    attribution: Attribution, key: tuple[int, AccountId, int], ledger: Ledger, fees_planck: int
) -> None:
    """Check that fees are all that was redeemed in an epoch. Raises EpochFailed, FeesExceedPool,
    FeesMissing."""
    model, server, epoch = key
    again = attribution.epochs.get(key)
    if again is None and attribution.first_unsettled_epoch(model, server) < epoch:
        raise attribution.EpochFailed
    redeemed = ledger.redeemed_planck if again is None else again.fees_planck
    if fees_planck > redeemed:
        raise attribution.FeesExceedPool
    if fees_planck < redeemed:
        raise attribution.FeesMissing


def count_unsettled(attribution: Attribution, server: AccountId, change: int) -> None:
    """Count what a server redeemed and must still settle; what it redeemed before the model's rows
    were enough for attribution was not counted, so closing may take away more."""
    left = max(0, attribution.unsettled.get(server) + change)
    if left:
        attribution.unsettled.put(server, left)
    else:
        attribution.unsettled.remove(server)


def settle(attribution: Attribution, spec: Settle, output: Settled) -> None:
    """Pay a settled epoch out, or convict its server. Raises NotSettling, OutputDiffers."""
    key = (spec.model, spec.server, spec.epoch)
    record = _settling(attribution, key)
    if output.receipts_root != record.receipts_root or len(output.faults) > FAULTS_MAX:
        raise attribution.OutputDiffers
    if output.faults:
        wronged = tuple(
            (fault.asker, fault.fee_planck)
            for fault in output.faults
            if fault.kind in WRONG_TO_THE_ASKER
        )
        convict(attribution, spec, sum(fault.fee_planck for fault in output.faults), wronged)
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


def report_overdue(attribution: Attribution, model: int, server: AccountId) -> None:
    """Slash a server that has not closed its epoch in time; the pool goes to the commons, and the
    receipts of the epoch can be settled no more. Raises NotOverdue."""
    ledger = attribution.ledgers.get((model, server))
    time = attribution.governed.get().close_blocks
    if (
        ledger.due_from is None
        or ledger.settling is not None
        or attribution.system.current_number() <= ledger.due_from + time
    ):
        raise attribution.NotOverdue
    amount = SLASH_FACTOR * ledger.redeemed_planck
    slashed = attribution.inference.slash_server(server, amount, ())
    _add_commons(attribution, model, ledger.pool)
    count_unsettled(attribution, server, -ledger.redeemed_planck)
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


def give_pool_back(attribution: Attribution, spec: Settle) -> None:
    """Put the pool of an epoch whose settlement failed back; its server may close it again."""
    key = (spec.model, spec.server, spec.epoch)
    record = _settling(attribution, key)
    ledger = attribution.ledgers.get(key[:2])
    refunded = replace(
        ledger,
        pool=ledger.pool + record.pool_planck,
        redeemed_planck=ledger.redeemed_planck + record.fees_planck,
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
    assert record is not None, "an epoch that ends was closed"
    now = attribution.system.current_number()
    due_from = now if ledger.due_from is not None or record.state is EpochState.Failed else None
    freed = replace(ledger, settling=None, due_from=due_from)
    attribution.ledgers.put((model, server), freed)
    left = attribution.settling.get(server) - record.fees_planck
    if left:
        attribution.settling.put(server, left)
    else:
        attribution.settling.remove(server)


def _add_commons(attribution: Attribution, model: int, amount: int) -> None:
    if amount:
        attribution.commons.put(model, attribution.commons.get(model) + amount)
