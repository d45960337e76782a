"""Settlement of an epoch of receipts, and the cost of each part of it."""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks.figures import Effort, Figure, Measured
from benchmarks.timing import cpu_seconds
from ml.attribution.epoch_files import PAGE_RECEIPTS, ChannelRange, IndexInput
from ml.attribution.receipt_checks import ReceiptChecks
from ml.attribution.settlement import NetScores, epoch_shares, shares_root
from ml.attribution.sketch import quantized
from runtime.codec.scale import Bytes64
from runtime.crypto.hashing import blake2b_256
from runtime.crypto.keys import Keypair
from runtime.shared.documents import (
    SKETCH_SIZE_DEFAULT,
    ContributorAggregate,
    Indexed,
    Recipe,
    Settle,
    Share,
)
from runtime.shared.receipts import (
    GREEDY,
    RECEIPT_VERSION,
    TOP_ROWS_MAX,
    Evidence,
    Rates,
    Receipt,
    RowScore,
    SignedReceipt,
    SignedVoucher,
    Voucher,
    evidence_hash,
    receipt_hash,
    voucher_hash,
    voucher_payload,
)
from runtime.trie.merkle import sum_root
from runtime.types.primitives import ZERO_HASH, AccountId, Ed25519, Hash

WORK: Final = (
    "settle one epoch: check each receipt with its voucher, ids and Merkle sum, S_c, V_c and the "
    "share of every contributor"
)
SHARE_GOAL_SECONDS: Final = 5.0
CONTRIBUTORS: Final = 50
DISTINCT_SKETCHES: Final = 512
RATES: Final = Rates(10**15, 10**15, 10**15)
TOKENS_IN: Final = 40
TOKENS_OUT: Final = 120
FEE_PLANCK: Final = RATES.fee(TOKENS_IN, TOKENS_OUT)
SEED: Final = 7


def run(effort: Effort) -> Measured:
    """Settle once: an epoch is long enough to be its own average."""
    count = effort.pick(100_000, 10_000, 20)
    receipts = make_receipts(count)
    aggregates = make_aggregates()
    shares: list[tuple[Share, ...]] = []
    sharing = cpu_seconds(lambda: shares.append(share(receipts, aggregates)))
    checking = cpu_seconds(lambda: check(receipts))
    hashing = cpu_seconds(lambda: [receipt_hash(each.receipt) for each in receipts])
    leaves = [(receipt_hash(each.receipt), each.receipt.fee_planck) for each in receipts]
    root = cpu_seconds(lambda: sum_root(leaves))
    assert len(shares[0]) <= CONTRIBUTORS
    goal = SHARE_GOAL_SECONDS if effort is Effort.FULL else None
    return Measured(
        (
            Figure(f"share {count:,} receipts", ours=sharing, unit="s", goal=goal, at_most=True),
            Figure("  check each receipt", checking, "s"),
            Figure("  receipt ids", hashing, "s"),
            Figure("  Merkle sum", root, "s"),
        ),
        (
            f"k = {SKETCH_SIZE_DEFAULT}, {CONTRIBUTORS} contributors, {TOP_ROWS_MAX} top rows a "
            f"receipt; the sketches are {DISTINCT_SKETCHES} distinct ones in turn, to save memory; "
            "a check verifies two signatures",
        ),
    )


def share(
    receipts: list[SignedReceipt], aggregates: list[ContributorAggregate]
) -> tuple[Share, ...]:
    """Share what the receipts brought, page by page."""
    scores = NetScores(aggregates)
    for start in range(0, len(receipts), PAGE_RECEIPTS):
        page = receipts[start : start + PAGE_RECEIPTS]
        fees = [each.receipt.fee_planck for each in page]
        scores.add([each.evidence.phi for each in page], fees)
    shares = epoch_shares(len(receipts) * FEE_PLANCK, [scores], bound_milli=1_000)
    shares_root(shares)
    return shares


def check(receipts: list[SignedReceipt]) -> None:
    """Check that every receipt is in order."""
    count, server = len(receipts), receipts[0].receipt.server
    spec = Settle(
        model=1,
        server=server,
        epoch=3,
        receipts_root=ZERO_HASH,
        receipts=count,
        fees_planck=count * FEE_PLANCK,
        pool_planck=count * FEE_PLANCK,
        bound_milli=1_000,
        draws=32,
        text_blocks=600,
    )
    asker = receipts[0].asker
    channel = ChannelRange(channel=1, asker=asker, start_planck=0, end_planck=count * FEE_PLANCK)
    checks = ReceiptChecks(spec, ZERO_HASH, [channel], [_index()])
    for position, signed in enumerate(receipts):
        assert checks.check(position, signed) is None, "these receipts are in order"


def make_receipts(count: int) -> list[SignedReceipt]:
    """Return signed receipts of full size that share their large parts."""
    size = (min(count, DISTINCT_SKETCHES), SKETCH_SIZE_DEFAULT)
    sketches = quantized(np.random.default_rng(SEED).normal(size=size))  # [distinct, k]
    top = tuple(RowScore(row, 10**6 - row) for row in range(TOP_ROWS_MAX))
    evidences = [
        Evidence(
            phi=sketch.tobytes(),
            top=top,
            spans=(),
            retrieved=(),
            remainder_permille=100,
        )
        for sketch in sketches
    ]
    hashes = [evidence_hash(evidence) for evidence in evidences]
    server, asker = Keypair.from_uri("//Server"), Keypair.from_uri("//Asker")
    made = []
    for number in range(count):
        at = number % len(evidences)
        made.append(_receipt(number, server, asker, evidences[at], hashes[at]))
    return made


def _receipt(
    number: int, server: Keypair, asker: Keypair, evidence: Evidence, named: Hash
) -> SignedReceipt:
    voucher = Voucher(
        genesis=ZERO_HASH,
        channel=1,
        model=1,
        train_job=1,
        sequence=number + 1,
        before_planck=number * FEE_PLANCK,
        limit_planck=(number + 1) * FEE_PLANCK,
        rates=RATES,
        question=Hash(blake2b_256(b"question %d" % number)),
        sampling=GREEDY,
        may_draw=False,
        expires_at=10_000,
    )
    signature = Ed25519(asker.sign(voucher_payload(voucher)))
    receipt = Receipt(
        version=RECEIPT_VERSION,
        voucher=voucher_hash(voucher),
        server=AccountId(server.account),
        index_job=2,
        adapter=ZERO_HASH,
        tokens_in=TOKENS_IN,
        tokens_out=TOKENS_OUT,
        fee_planck=FEE_PLANCK,
        answer=Hash(blake2b_256(b"answer %d" % number)),
        evidence=named,
    )
    promise = SignedVoucher(voucher, AccountId(asker.account), signature)
    return SignedReceipt(promise, receipt, evidence, Bytes64(server.sign(receipt_hash(receipt))))


def _index() -> IndexInput:
    indexed = Indexed(
        phi=ZERO_HASH,
        phi_root=ZERO_HASH,
        gram_hash=ZERO_HASH,
        damping=1,
        psi=ZERO_HASH,
        psi_root=ZERO_HASH,
        aggregates=ZERO_HASH,
        aggregate_root=ZERO_HASH,
        span_shards=ZERO_HASH,
        rows=1_000_000,
        sketch_size=SKETCH_SIZE_DEFAULT,
    )
    return IndexInput(
        index_job=2,
        train_job=1,
        base=ZERO_HASH,
        recipe=Recipe(),
        adapter=ZERO_HASH,
        moments=ZERO_HASH,
        seed=ZERO_HASH,
        indexed=indexed,
    )


def make_aggregates() -> list[ContributorAggregate]:
    """Return the aggregates of contributors with a thousand rows each."""
    source = np.random.default_rng(SEED + 1)
    return [
        ContributorAggregate(
            AccountId(blake2b_256(b"contributor %d" % number)),
            1_000,
            tuple(source.integers(-4_000, 4_000, SKETCH_SIZE_DEFAULT).tolist()),
        )
        for number in range(CONTRIBUTORS)
    ]
