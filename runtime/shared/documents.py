"""Documents: the values that pallets, node and ml share, declared once as SCALE types.

Rules that hold for all of them:

- A file (adapter, sketches, a batch of rows) is named by its blob id,
  `runtime.trie.merkle.blob_id`.
- A job's answer is committed as `output_root(output)`, blake2b-256 of the SCALE of `JobOutput`.
- Quantities are integers with their unit in the name; losses are micro-nats per completion token.
- A row is numbered by its position in the rows that a training job used (cluster representatives,
  in order of datanet, batch, position); receipts, sketches and spans all use that number.

Vouchers and receipts are in `runtime.shared.receipts`.
"""

from __future__ import annotations

import enum
from typing import Final

from runtime.codec.scale import Enumeration, codec, i64, i128, scale, u16, u32, u64, u128
from runtime.crypto.hashing import blake2b_256
from runtime.types.primitives import AccountId, Balance, Hash

SKETCH_SIZE_DEFAULT: Final = 4096
DATANETS_MAX: Final = 16
"""Datanets that one model is trained on."""
FAULTS_MAX: Final = 64
"""Faults that a settlement names; the first one decides already."""
SHARES_PUSHED_MAX: Final = 64
"""The largest shares of an epoch, which are paid at once; everybody else claims."""


@scale
class DatanetVersion:
    """A published version of a datanet."""

    datanet: u32
    version: u32


@scale
class Recipe:
    """Every setting of a LoRA training run. `epochs` bounds the run unless `max_steps` > 0 does."""

    learning_rate_nano: u64 = 2_000_000
    epochs: u16 = 1
    max_steps: u32 = 0
    batch_rows: u16 = 16
    micro_batch_rows: u16 = 16
    rank: u16 = 8
    alpha: u16 = 16
    dropout_permille: u16 = 0
    targets: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    max_tokens: u16 = 192
    warmup_steps: u16 = 10
    weight_decay_nano: u64 = 0
    seed: u64 = 0
    evaluation_permille: u16 = 50
    checkpoint_steps: u16 = 20


CURVE_EVALUATIONS: Final = 4
"""Measurements of the held-out rows while a training runs, the last one at its end; another one
measures the base."""


def held_out_max(rows: int, permille: int) -> int:
    """Return how many of so many rows a training holds out at most: twice the part that is asked
    for. Their hashes decide which, and rows can be made that are all held out."""
    return min(rows, 2 * -(-rows * permille // 1_000))


class JobSpec(Enumeration):
    """The work of a job. No kind of it runs user code."""


class Train(JobSpec, index=0):
    """Train a LoRA adapter for a model from published rows; `base` is the base's content hash."""

    model: u32
    base: Hash
    datanets: tuple[DatanetVersion, ...]
    recipe: Recipe


class Evaluate(JobSpec, index=1):
    """Measure base and adapter on the held-out rows of a training job again."""

    model: u32
    train_job: u32


class Index(JobSpec, index=2):
    """Sketch the rows of a settled training job, with a seed drawn after its adapter was fixed."""

    model: u32
    train_job: u32
    sketch_size: u16


class Settle(JobSpec, index=3):
    """Check one epoch of receipts of a server and share its pool among the contributors.

    The server declared the root, the number and the fees (planck) of the receipts; `pool_planck` is
    what is shared, `bound_milli` the factor of the bound on scores, `draws` the number of draws of
    receipts whose texts are looked at; the server has `text_blocks` blocks to show them.
    """

    model: u32
    server: AccountId
    epoch: u32
    receipts_root: Hash
    receipts: u32
    fees_planck: Balance
    pool_planck: Balance
    bound_milli: u16
    draws: u16
    text_blocks: u32


@scale
class BatchInput:
    """One accepted batch of rows as a job reads it: the file `inputs/<blob id hex>`."""

    datanet: u32
    batch: u32
    contributor: AccountId
    blob: Hash
    rows: u32


@scale
class RowsInput:
    """`inputs/rows.scale`: the batches that TRAIN, EVALUATE and INDEX jobs read, in order."""

    batches: tuple[BatchInput, ...]


class JobOutput(Enumeration):
    """The result of a job: executors commit to it and reveal it, the chain settles on it."""


class Trained(JobOutput, index=0):
    """A trained adapter. Held-out losses are on the same rows, in micro-nats per token."""

    adapter: Hash
    moments: Hash
    trace_root: Hash
    row_root: Hash
    steps: u32
    rows_trained: u32
    rows_held_out: u32
    base_loss_micronats: u64
    adapter_loss_micronats: u64


class Evaluated(JobOutput, index=1):
    """Held-out losses measured again."""

    base_loss_micronats: u64
    adapter_loss_micronats: u64


class Indexed(JobOutput, index=2):
    """The commitments of attribution: see design of Proof of Attribution in ARCHITECTURE.md.

    phi: rows x k int8 sketches; psi: rows x k int8 inverse-Fisher sketches; aggregates: SCALE of
    tuple[ContributorAggregate, ...]; span_shards: SCALE of tuple[Hash, ...],
    the suffix-array shards of the rows' tokens.
    """

    phi: Hash
    phi_root: Hash
    gram_hash: Hash
    damping: u128
    psi: Hash
    psi_root: Hash
    aggregates: Hash
    aggregate_root: Hash
    span_shards: Hash
    rows: u32
    sketch_size: u16


class Settled(JobOutput, index=3):
    """One epoch: what is wrong with its receipts, or how its pool is shared.

    Where there is no fault, `shares_root` and `shares_planck` are those of a Merkle-sum tree over
    (account, planck), ascending by account; `shares` is the file of `EpochShares` with all of
    them and `largest` the largest few, which are paid at once. What the shares leave of the pool
    goes to the model's commons. With a fault nothing is shared.
    """

    receipts_root: Hash
    faults: tuple[Fault, ...]
    shares: Hash
    shares_root: Hash
    shares_count: u32
    shares_planck: Balance
    largest: tuple[LargestShare, ...]


class FaultKind(enum.IntEnum):
    """What is wrong with an epoch or with one of its receipts."""

    Declaration = 0
    """The file of receipts is none, or has not the root, number or fees that were declared."""
    Order = 1
    """Two receipts are out of order, or take the same range of a channel."""
    Voucher = 2
    """The voucher is not signed by the asker of a channel to this server for this model."""
    Range = 3
    """The range was not redeemed in this epoch."""
    Receipt = 4
    """The receipt is not signed by the server, or does not fit its voucher or evidence."""
    Index = 5
    """The receipt names an adapter or an index that the model did not have."""
    Text = 6
    """The text shown for a drawn receipt is not the one that it was made for."""
    Sketch = 7
    """The sketch is longer than a sketch can be, or, of a drawn answer, not that of its text."""
    Answer = 8
    """The model does not give the answer of a drawn receipt."""


@scale
class Fault:
    """A fault of the receipt at a position, and what its channel paid for it in planck; a false
    declaration is of no channel."""

    kind: FaultKind
    position: u32
    channel: u32 | None
    fee_planck: Balance


@scale
class Share:
    """The part of a contributor in an epoch's pool, in planck."""

    contributor: AccountId
    planck: Balance


@scale
class LargestShare:
    """One of the largest shares with its position among all."""

    position: u32
    share: Share


@scale
class EpochShares:
    """All shares of an epoch, ascending by account, none of them zero."""

    shares: tuple[Share, ...]


class Diverged(JobOutput, index=4):
    """A training without a result: its loss ran away at this step, counted from 1."""

    step: u32


@scale
class SettlementEntry:
    """Signed net score S_c and V_c, the sum of squares of the per-receipt scores."""

    contributor: AccountId
    score: i128
    square_sum: u128


@scale
class ContributorAggregate:
    """Psi_c: the sum of psi over one contributor's paid rows, k signed integers."""

    contributor: AccountId
    rows: u32
    psi_sum: tuple[i64, ...]


def output_root(output: JobOutput) -> Hash:
    """Return the root that an executor commits to."""
    return Hash(blake2b_256(codec(JobOutput).encode(output)))


def commitment(
    genesis: Hash, job: int, executor: AccountId, attempt: int, root: Hash, salt: bytes
) -> Hash:
    """Return the sealed commitment to an output root (32-byte salt); bound to job and executor."""
    sealed = b"commit" + genesis + job.to_bytes(4, "little") + executor
    return Hash(blake2b_256(sealed + attempt.to_bytes(4, "little") + root + salt))
