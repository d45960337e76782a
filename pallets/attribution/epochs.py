"""Epochs: settling, convicting or failing one, and the way of each planck of its pool.

    closed by its server -> settled: shares and commons
                         -> convicted: the server's bond is slashed, the pool goes to the commons
                         -> failed: the pool goes back, the server closes the epoch again

Rule that holds here: a server gains nothing by a false declaration, because the pool then goes to
the commons and the executors are paid from the escrow that it posted.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from pallets.attribution import ledgers, shares
from pallets.attribution.records import CONVICTION_MIN, SLASH_FACTOR, Epoch, EpochKey, EpochState
from runtime.shared.documents import (
    FAULTS_MAX,
    SHARES_PUSHED_MAX,
    Fault,
    FaultKind,
    Settle,
    Settled,
)

if TYPE_CHECKING:
    from pallets.attribution import Attribution

REPAID: Final = frozenset(
    {FaultKind.Receipt, FaultKind.Index, FaultKind.Text, FaultKind.Sketch, FaultKind.Answer}
)
"""Faults of an answer that a channel paid for, and is repaid for out of the bond. Other receipts
name a channel that is not theirs, or a range that nobody paid for."""


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
    ledgers.add_commons(attribution, spec.model, commons)
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


def _wronged(record: Epoch, faults: tuple[Fault, ...]) -> tuple[tuple[int, int], ...]:
    """Return which channels a conviction repays and how much: together no more than the epoch's
    channels paid, so that executors who agree on a lie cannot share a whole bond with an asker of
    theirs."""
    left, wronged = record.fees_planck, []
    for fault in faults:
        if fault.kind in REPAID and fault.channel is not None:
            owed = min(fault.fee_planck, left)
            wronged.append((fault.channel, owed))
            left -= owed
    return tuple(wronged)


def convict(
    attribution: Attribution,
    spec: Settle,
    false_planck: int,
    wronged: tuple[tuple[int, int], ...] = (),
) -> None:
    """Slash the server of false or withheld receipts by all that the epoch earned, or more, and by
    `CONVICTION_MIN` at least; the pool goes to the commons. Raises NotSettling."""
    key = (spec.model, spec.server, spec.epoch)
    record = _settling(attribution, key)
    amount = max(SLASH_FACTOR * false_planck, record.fees_planck, CONVICTION_MIN)
    slashed = attribution.inference.slash_server(spec.server, amount, wronged)
    ledgers.add_commons(attribution, spec.model, record.pool_planck)
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
    )
    attribution.ledgers.put(key[:2], refunded)
    attribution.epochs.put(key, replace(record, state=EpochState.Failed))
    _end(attribution, key)
    ledgers.count_unsettled(attribution, spec.server, record.fees_planck)
    attribution.emit(attribution.SettlementFailed(spec.model, spec.server, spec.epoch))


def _settling(attribution: Attribution, key: EpochKey) -> Epoch:
    record = attribution.epochs.get(key)
    if record is None or record.state is not EpochState.Settling:
        raise attribution.NotSettling
    return record


def _end(attribution: Attribution, key: EpochKey) -> None:
    """Free the ledger for the next close, whose time runs from now where there is one to do."""
    model, server, _ = key
    ledger, record = attribution.ledgers.get((model, server)), attribution.epochs.get(key)
    assert record is not None, "an epoch that ends exists"
    freed = replace(ledger, settling=None, due_from=None)
    attribution.ledgers.put((model, server), ledgers.timed(attribution, (model, server), freed))
    left = attribution.at_risk.get(server) - record.fees_planck
    if left:
        attribution.at_risk.put(server, left)
    else:
        attribution.at_risk.remove(server)
