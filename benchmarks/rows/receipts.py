"""Settlement of an epoch of receipts, and the cost of each part of it."""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks.figures import Effort, Figure, Measured
from benchmarks.timing import cpu_seconds
from ml.attribution.settlement import net_scores, settle
from runtime.crypto.hashing import blake2b_256
from runtime.shared.documents import SKETCH_SIZE_DEFAULT, ContributorAggregate, Settled
from runtime.shared.receipts import TOP_ROWS_MAX, Receipt, RowScore, receipt_hash
from runtime.trie.merkle import sum_root
from runtime.types.primitives import ZERO_HASH, AccountId, Hash

WORK: Final = (
    "settle one epoch: ids and Merkle sum of all receipts, S_c and V_c of every contributor"
)
SETTLE_GOAL_SECONDS: Final = 5.0
CONTRIBUTORS: Final = 50
DISTINCT_SKETCHES: Final = 512
FEE_PLANCK: Final = 3 * 10**15
SEED: Final = 7


def run(effort: Effort) -> Measured:
    """Settle once: an epoch is long enough to be its own average."""
    count = effort.pick(100_000, 10_000, 20)
    receipts = make_receipts(count)
    aggregates = make_aggregates()
    results: list[Settled] = []
    whole = cpu_seconds(lambda: results.append(settle(receipts, aggregates)))
    hashing = cpu_seconds(lambda: [receipt_hash(receipt) for receipt in receipts])
    leaves = [(receipt_hash(receipt), receipt.contributor_fee_planck) for receipt in receipts]
    root = cpu_seconds(lambda: sum_root(leaves))
    sketches = [receipt.phi for receipt in receipts]
    scores = cpu_seconds(lambda: net_scores(aggregates, sketches, [FEE_PLANCK] * count))
    assert results[0].receipts == count
    assert len(results[0].entries) == CONTRIBUTORS
    goal = SETTLE_GOAL_SECONDS if effort is Effort.FULL else None
    return Measured(
        (
            Figure(f"settle {count:,} receipts", ours=whole, unit="s", goal=goal, at_most=True),
            Figure("  receipt ids", hashing, "s"),
            Figure("  Merkle sum", root, "s"),
            Figure("  S_c and V_c", scores, "s"),
        ),
        (
            f"k = {SKETCH_SIZE_DEFAULT}, {CONTRIBUTORS} contributors, {TOP_ROWS_MAX} top rows a "
            f"receipt; the sketches are {DISTINCT_SKETCHES} distinct ones in turn, to save memory",
        ),
    )


def make_receipts(count: int) -> list[Receipt]:
    """Return receipts of full size that share their large parts."""
    source = np.random.default_rng(SEED)
    sketches = [
        source.integers(-127, 128, SKETCH_SIZE_DEFAULT, np.int8).tobytes()
        for _ in range(min(count, DISTINCT_SKETCHES))
    ]
    top = tuple(RowScore(row, 10**6 - row) for row in range(TOP_ROWS_MAX))
    server, asker = AccountId(blake2b_256(b"server")), AccountId(blake2b_256(b"asker"))
    return [
        Receipt(
            version=1,
            genesis=ZERO_HASH,
            model=1,
            train_job=1,
            index_job=2,
            adapter=ZERO_HASH,
            epoch=3,
            sequence=number,
            server=server,
            asker=asker,
            channel=1,
            question=Hash(blake2b_256(b"question %d" % number)),
            answer=Hash(blake2b_256(b"answer %d" % number)),
            tokens_in=40,
            tokens_out=120,
            fee_planck=2 * FEE_PLANCK,
            contributor_fee_planck=FEE_PLANCK + number,
            phi=sketches[number % len(sketches)],
            top=top,
            spans=(),
            retrieved=(),
            remainder_permille=100,
        )
        for number in range(count)
    ]


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
