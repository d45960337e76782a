"""SETTLE: one epoch of receipts checked, drawn answers held against the model, the pool shared.

    pages -> every receipt checked, scores added, root and fees summed
          -> declared falsely, or a receipt is false: the faults are the result
          -> drawn answers, by index: texts, sketch, the model's own words
          -> faults, or the shares of all contributors

Rules that hold here: one page is in memory at a time; whatever a server wrote into its files is a
fault of the result, never an error of the job, because executors must agree on it; only what the
node itself lays out may be missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from ml.adapters.validation import load_adapter
from ml.attribution.drawn_answers import AnswerCheck
from ml.attribution.epoch_files import (
    EPOCH_FILE,
    PAGE_BYTES_MAX,
    PAGE_RECEIPTS,
    TEXTS_FILE,
    EpochInput,
    IndexInput,
    receipts_of,
)
from ml.attribution.index import AGGREGATES, QuerySketcher
from ml.attribution.receipt_checks import ReceiptChecks
from ml.attribution.settlement import NetScores, epoch_shares, largest_shares, shares_root
from ml.attribution.sketch import load_moments
from ml.attribution.sketch_tolerance import SketchComparison
from ml.base.limits import longest_token_bytes
from ml.jobs.inputs import BLOB_BYTES_MAX, InputCorruptError, read_blob, read_file
from ml.jobs.job_base import load_job_base
from runtime.codec.scale import DecodeError, codec
from runtime.shared.documents import (
    FAULTS_MAX,
    EpochShares,
    Fault,
    FaultKind,
    Settle,
    Settled,
)
from runtime.shared.receipts import (
    EpochReceipts,
    ShownTexts,
    SignedReceipt,
    drawn_receipts,
    receipt_hash,
)
from runtime.trie.merkle import blob_id, sum_root
from runtime.types.primitives import ZERO_HASH, Hash

EPOCH_BYTES_MAX: Final = 256 << 20

T = TypeVar("T")
Report = Callable[[int, int], None]
"""(receipts or drawn answers done, of how many)."""


@dataclass(slots=True)
class _Audit:
    """What reading the pages leaves: faults, scores by index job, and what was summed up."""

    faults: list[Fault] = field(default_factory=list)
    scores: dict[int, NetScores] = field(default_factory=dict)
    leaves: list[tuple[Hash, int]] = field(default_factory=list)


def settle_epoch(
    spec: Settle, inputs: Path, seed: bytes, base: str, report: Report
) -> tuple[Settled, bytes | None]:
    """Return the settlement of an epoch, and the file of its shares where there is one.

    Raises InputMissingError, InputCorruptError, BaseMismatchError.
    """
    epoch = _read(inputs / EPOCH_FILE, EpochInput)
    audit = _audited(spec, epoch, inputs, report)
    faults = audit.faults if audit is not None else [_false_declaration(spec)]
    if audit is not None and not faults:
        faults = _drawn_faults(spec, epoch, inputs, seed, base=base, audit=audit, report=report)
    if audit is None or faults:
        return _settled(spec, tuple(faults[:FAULTS_MAX])), None
    shares = epoch_shares(spec.pool_planck, list(audit.scores.values()), spec.bound_milli)
    file = codec(EpochShares).encode(EpochShares(shares))
    root, amount = shares_root(shares)
    settled = Settled(
        receipts_root=spec.receipts_root,
        faults=(),
        shares=blob_id(file),
        shares_root=root,
        shares_count=len(shares),
        shares_planck=amount,
        largest=largest_shares(shares),
    )
    return settled, file


def _audited(spec: Settle, epoch: EpochInput, inputs: Path, report: Report) -> _Audit | None:
    """Check every receipt; None where they are not those that the server declared."""
    if epoch.pages is None:
        return None
    checks = ReceiptChecks(spec, epoch.genesis, epoch.channels, epoch.indexes)
    indexes = {index.index_job: index for index in epoch.indexes}
    audit = _Audit()
    for page in epoch.pages:
        read = _page(inputs, page)
        if read is None or (page != epoch.pages[-1] and len(read.receipts) != PAGE_RECEIPTS):
            return None
        sound: dict[int, list[SignedReceipt]] = {}
        for signed in read.receipts:
            fault = checks.check(len(audit.leaves), signed)
            audit.leaves.append((receipt_hash(signed.receipt), signed.receipt.fee_planck))
            if fault is None:
                sound.setdefault(signed.receipt.index_job, []).append(signed)
            elif len(audit.faults) < FAULTS_MAX:
                audit.faults.append(fault)
        for job, receipts in sound.items():
            if job not in audit.scores:
                audit.scores[job] = _scores_of(indexes[job], inputs)
            audit.scores[job].add(
                [signed.evidence.phi for signed in receipts],
                [signed.receipt.fee_planck for signed in receipts],
            )
        report(len(audit.leaves), spec.receipts)
    if len(audit.leaves) != spec.receipts or _is_beyond(audit.leaves):
        return None
    return audit if sum_root(audit.leaves) == (spec.receipts_root, spec.fees_planck) else None


def _page(inputs: Path, name: Hash) -> EpochReceipts | None:
    """Return a page of receipts; None where it is none, or longer than one can be."""
    path = inputs / name.hex()
    if path.is_file() and path.stat().st_size > PAGE_BYTES_MAX:
        return None
    return receipts_of(read_blob(inputs, name))


def _is_beyond(leaves: list[tuple[Hash, int]]) -> bool:
    """Return whether the fees do not fit the tree of sums."""
    return sum(fee for _, fee in leaves) >= 1 << 128


def _scores_of(index: IndexInput, inputs: Path) -> NetScores:
    data = read_blob(inputs, index.indexed.aggregates)
    return NetScores(AGGREGATES.decode(data))


def _false_declaration(spec: Settle) -> Fault:
    """The fault of a file that has not the receipts that were declared: all of it is false."""
    return Fault(FaultKind.Declaration, 0, None, spec.fees_planck)


def _settled(spec: Settle, faults: tuple[Fault, ...]) -> Settled:
    return Settled(
        receipts_root=spec.receipts_root,
        faults=faults,
        shares=ZERO_HASH,
        shares_root=ZERO_HASH,
        shares_count=0,
        shares_planck=0,
        largest=(),
    )


# ----------------------------------------------------------------------------------- drawn answers


def _drawn_faults(
    spec: Settle,
    epoch: EpochInput,
    inputs: Path,
    seed: bytes,
    *,
    base: str,
    audit: _Audit,
    report: Report,
) -> list[Fault]:
    """Hold the drawn answers against their models, one index after another."""
    drawn = drawn_receipts(seed, [fee for _, fee in audit.leaves], spec.draws)
    texts = _read(inputs / TEXTS_FILE, ShownTexts).texts
    receipts = dict(_receipts_at(epoch.pages or (), inputs, drawn))
    faults = []
    if len(texts) != len(drawn):
        return [_fault(FaultKind.Text, at, receipts[at]) for at in drawn]
    shown = dict(zip(drawn, texts, strict=True))
    comparison = SketchComparison()
    done = 0
    for index in epoch.indexes:
        positions = [at for at in drawn if receipts[at].receipt.index_job == index.index_job]
        if not positions:
            continue
        check = answer_check(index, inputs, base, comparison)
        for at in positions:
            kind = check.fault(receipts[at], shown[at])
            if kind is not None:
                faults.append(_fault(kind, at, receipts[at]))
            done += 1
            report(done, len(drawn))
    if not faults and not comparison.agree_together:
        return [_fault(FaultKind.Sketch, at, receipts[at]) for at in drawn]
    return sorted(faults, key=lambda fault: fault.position)


def _fault(kind: FaultKind, position: int, signed: SignedReceipt) -> Fault:
    return Fault(kind, position, signed.channel, signed.receipt.fee_planck)


def _receipts_at(
    pages: tuple[Hash, ...], inputs: Path, positions: tuple[int, ...]
) -> Iterator[tuple[int, SignedReceipt]]:
    """Yield the receipts at some positions; each page with one of them is read again."""
    for number in sorted({at // PAGE_RECEIPTS for at in positions}):
        page = _page(inputs, pages[number])
        assert page is not None, "the page was read before"
        for at in positions:
            if at // PAGE_RECEIPTS == number:
                yield at, page.receipts[at % PAGE_RECEIPTS]


def answer_check(
    index: IndexInput, inputs: Path, base: str, comparison: SketchComparison
) -> AnswerCheck:
    """Load the model that an index stands on. Raises BaseMismatchError."""
    model, tokenizer = load_job_base(base, index.base)
    wrapped = load_adapter(read_blob(inputs, index.adapter), index.recipe, model)
    sketcher = QuerySketcher(
        wrapped,
        tokenizer,
        load_moments(read_blob(inputs, index.moments)),
        bytes(index.seed),
        index.indexed.sketch_size,
        index.recipe.max_tokens,
    )
    return AnswerCheck(wrapped, tokenizer, sketcher, longest_token_bytes(tokenizer), comparison)


def _read(path: Path, hint: type[T]) -> T:
    try:
        return codec(hint).decode(read_file(path, min(EPOCH_BYTES_MAX, BLOB_BYTES_MAX)))
    except DecodeError as error:
        raise InputCorruptError(f"{path.name} does not decode: {error}.") from error
