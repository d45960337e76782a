"""The settlement of an epoch as executors compute it: the real checks, scores, shares and draw.

Only the look at the texts of drawn receipts is replaced: the simulator knows what is true. The
steps are those of `ml.jobs.settling`, which reads the same from files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.market.answers import Answer
from benchmarks.market.chain import GENESIS_HASH, Chain
from ml.attribution.epoch_files import ChannelRange, IndexInput
from ml.attribution.receipt_checks import ReceiptChecks
from ml.attribution.settlement import NetScores, epoch_shares, largest_shares, shares_root
from runtime.codec.scale import codec
from runtime.shared.documents import (
    FAULTS_MAX,
    ContributorAggregate,
    EpochShares,
    Fault,
    FaultKind,
    Settle,
    Settled,
    Share,
)
from runtime.shared.receipts import drawn_receipts, receipt_hash
from runtime.trie.merkle import blob_id, sum_root
from runtime.types.primitives import ZERO_HASH, Hash

EpochFile = tuple[Answer, ...]
"""The receipts of an epoch as its server published them, with the truth beside each."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """The result of an epoch, and its shares; `looked_at` receipts were drawn, which is 0 where
    the receipts alone showed a fault."""

    settled: Settled
    shares: tuple[Share, ...]
    looked_at: int


def settle_epoch(
    spec: Settle,
    seed: Hash,
    file: EpochFile | None,
    channels: Sequence[ChannelRange],
    indexes: Mapping[int, tuple[IndexInput, Sequence[ContributorAggregate]]],
    *,
    is_honest: bool = True,
) -> Settlement:
    """Return the settlement of an epoch; an executor that is not honest overlooks all faults."""
    inputs = [index for index, _ in indexes.values()]
    checks = ReceiptChecks(spec, GENESIS_HASH, channels, inputs)
    faults: list[Fault] = []
    leaves: list[tuple[Hash, int]] = []
    sound: dict[int, list[Answer]] = {}
    for answer in file or ():
        receipt = answer.signed.receipt
        fault = checks.check(len(leaves), answer.signed)
        leaves.append((receipt_hash(receipt), receipt.fee_planck))
        if fault is None:
            sound.setdefault(receipt.index_job, []).append(answer)
        else:
            faults.append(fault)
    root = (spec.receipts_root, spec.fees_planck)
    if file is None or len(leaves) != spec.receipts or sum_root(leaves) != root:
        faults = [Fault(FaultKind.Declaration, 0, None, spec.fees_planck)]
    drawn: tuple[int, ...] = ()
    if not faults and file is not None:
        drawn = drawn_receipts(seed, [fee for _, fee in leaves], spec.draws)
        for at in drawn:
            kind, signed = file[at].fault, file[at].signed
            if kind is not None:
                faults.append(Fault(kind, at, signed.channel, signed.receipt.fee_planck))
    if faults and is_honest:
        return Settlement(_settled(spec, (), tuple(faults[:FAULTS_MAX])), (), len(drawn))
    scores = []
    for job, answers in sorted(sound.items()):
        score = NetScores(indexes[job][1])
        score.add(
            [answer.signed.evidence.phi for answer in answers],
            [answer.signed.receipt.fee_planck for answer in answers],
        )
        scores.append(score)
    shares = epoch_shares(spec.pool_planck, scores, spec.bound_milli) if scores else ()
    return Settlement(_settled(spec, shares, ()), shares, len(drawn))


def _settled(spec: Settle, shares: tuple[Share, ...], faults: tuple[Fault, ...]) -> Settled:
    if faults:
        return Settled(
            receipts_root=spec.receipts_root,
            faults=faults,
            shares=ZERO_HASH,
            shares_root=ZERO_HASH,
            shares_count=0,
            shares_planck=0,
            largest=(),
        )
    root, amount = shares_root(shares)
    return Settled(
        receipts_root=spec.receipts_root,
        faults=(),
        shares=blob_id(codec(EpochShares).encode(EpochShares(shares))),
        shares_root=root,
        shares_count=len(shares),
        shares_planck=amount,
        largest=largest_shares(shares),
    )


def channel_ranges(chain: Chain, spec: Settle, file: EpochFile | None) -> list[ChannelRange]:
    """Return the channels that the receipts of an epoch name, where they are to its server for its
    model, with the range that was redeemed in the epoch."""
    ranges = []
    for number in sorted({answer.signed.channel for answer in file or ()}):
        record = chain.inference.channel(number)
        if record is not None and (record.server, record.model) == (spec.server, spec.model):
            start, end = record.redeemed_before(spec.epoch), record.redeemed_before(spec.epoch + 1)
            ranges.append(ChannelRange(number, record.asker, start, end))
    return ranges
