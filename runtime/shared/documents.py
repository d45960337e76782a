"""Documents: the values that pallets, node and ml share, declared once as SCALE types.

Rules that hold for all of them:

- A file (adapter, sketches, a batch of rows) is named by its blob id,
  `runtime.trie.merkle.blob_id`.
- A job's answer is committed as `output_root(output)`, blake2b-256 of the SCALE of `JobOutput`.
- Quantities are integers with their unit in the name; losses are micro-nats per completion token.
- A row is numbered by its position in the rows that a training job used (cluster representatives,
  in order of datanet, batch, position); receipts, sketches and spans all use that number.
"""

from __future__ import annotations

from typing import Final

from runtime.codec.scale import (
    Bytes64,
    Enumeration,
    codec,
    i64,
    i128,
    scale,
    u8,
    u16,
    u32,
    u64,
    u128,
)
from runtime.crypto.hashing import blake2b_256
from runtime.types.primitives import AccountId, Balance, Hash, MultiSignature

SKETCH_SIZE_DEFAULT: Final = 4096
TOP_ROWS_MAX: Final = 64
SPANS_MAX: Final = 64


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
    """Turn one epoch of a model's receipts into signed net scores per contributor."""

    model: u32
    epoch: u32
    receipts_root: Hash


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
    """One epoch: what was asked, and each contributor's net score with the sum of its squares."""

    receipts: u32
    receipts_root: Hash
    fees_planck: Balance
    entries: tuple[SettlementEntry, ...]


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


# ------------------------------------------------------------------------------------- inference


@scale
class RowScore:
    """The exact integer influence of a row on an answer, psi(row) . phi(query)."""

    row: u32
    score: i64


@scale
class Span:
    """A maximal verbatim match: `length` answer tokens from `start` stand in `row` at `offset`."""

    start: u32
    length: u32
    row: u32
    offset: u32
    clusters: u32
    rarity_millinats: u32


@scale
class Receipt:
    """The record of an answer: the rows behind it, and its price.

    `epoch` is the model's settlement epoch; `sequence` counts this server's receipts of the model.
    `contributor_fee_planck` is the part of the fee that settlement shares out. `question` and
    `answer` are blake2b-256 of the UTF-8 texts. `phi` holds k int8 values. `remainder_permille`
    says how much of the absolute influence lies outside `top`.
    """

    version: u8
    genesis: Hash
    model: u32
    train_job: u32
    index_job: u32
    adapter: Hash
    epoch: u32
    sequence: u64
    server: AccountId
    asker: AccountId
    channel: u32
    question: Hash
    answer: Hash
    tokens_in: u32
    tokens_out: u32
    fee_planck: Balance
    contributor_fee_planck: Balance
    phi: bytes
    top: tuple[RowScore, ...]
    spans: tuple[Span, ...]
    retrieved: tuple[u32, ...]
    remainder_permille: u16


@scale
class SignedReceipt:
    """A receipt with the ed25519 signature of the account that served the answer."""

    receipt: Receipt
    signature: Bytes64


def receipt_hash(receipt: Receipt) -> Hash:
    """Return the id of a receipt; the serving account signs it."""
    return Hash(blake2b_256(b"openledger/receipt" + codec(Receipt).encode(receipt)))


@scale
class Voucher:
    """An asker's promise: the server may draw `cumulative_planck` from the channel, in all."""

    genesis: Hash
    channel: u32
    cumulative_planck: Balance


def voucher_payload(voucher: Voucher) -> bytes:
    """Return the bytes that the channel's owner signs."""
    return b"openledger/voucher" + codec(Voucher).encode(voucher)


@scale
class SignedVoucher:
    """A voucher with the signature of the account that owns the channel, as it travels."""

    voucher: Voucher
    account: AccountId
    signature: MultiSignature


@scale
class Feedback:
    """An asker's verdict on an answer. It moves no money: it is part of its server's record."""

    receipt: Hash
    negative: bool


def feedback_payload(feedback: Feedback) -> bytes:
    """Return the bytes that the asker signs."""
    return b"openledger/feedback" + codec(Feedback).encode(feedback)


@scale
class SignedFeedback:
    """A verdict with the signature of the account that asked, as it travels."""

    feedback: Feedback
    account: AccountId
    signature: MultiSignature


@scale
class EpochReceipts:
    """The file from which an epoch is settled: its receipts by sequence."""

    receipts: tuple[SignedReceipt, ...]
