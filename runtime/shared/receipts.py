"""Vouchers and receipts: what an asker promises for one answer, and what its server signs for it.

    asker   Voucher: the price list, the training, the question's salted hash, how tokens are
            chosen, the range of the channel
    server  Receipt: which voucher, which index, how many tokens, the fee, the answer's hash

A voucher pays for one answer to one question and for nothing else: `before_planck` is what the
channel owes for all earlier answers, `limit_planck` the most that it may owe after this one. An
answer takes the range from `before_planck` to `before_planck` + fee of its channel, so whoever sees
the vouchers sees that no two answers take the same planck.

The receipt is small, because a chain checks it; what shaped the answer is the `Evidence` beside it,
named by its hash. Texts are hashed with a salt that only asker and server know: short questions
could else be guessed from public receipts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from runtime.codec.scale import Bytes32, Bytes64, codec, i64, scale, u8, u16, u32, u64
from runtime.crypto.hashing import blake2b_256
from runtime.types.primitives import AccountId, Balance, Hash, MultiSignature

TOKENS_PER_RATE: Final = 1_000
TOP_ROWS_MAX: Final = 64
SPANS_MAX: Final = 64
RECEIPT_VERSION: Final = 3
MILLI: Final = 1_000
SEEDS: Final = 1 << 64
"""How many seeds of a sampling there are."""
TEMPERATURE_MILLI_MAX: Final = 2_000
TOP_P_MILLI_MAX: Final = 1_000
VOUCHER_BLOCKS_MAX: Final = 14_400
"""The longest life of a voucher: so long a former price list holds for vouchers made under it."""
SALT_BYTES: Final = 32
TICKET_BYTES: Final = 16


# ------------------------------------------------------------------------------------ the voucher


@scale
class Rates:
    """The price list of a model, in planck: per 1,000 tokens in, per 1,000 out, per request."""

    rate_in_planck: Balance
    rate_out_planck: Balance
    platform_fee_planck: Balance

    def fee(self, tokens_in: int, tokens_out: int) -> int:
        """Return what an answer costs, in planck, rounded up."""
        scaled: int = tokens_in * self.rate_in_planck + tokens_out * self.rate_out_planck
        return -(-scaled // TOKENS_PER_RATE) + self.platform_fee_planck

    def covers(self, other: Rates) -> bool:
        """Return whether no price here is below the other list's."""
        return (
            self.rate_in_planck >= other.rate_in_planck
            and self.rate_out_planck >= other.rate_out_planck
            and self.platform_fee_planck >= other.platform_fee_planck
        )


@scale
class Sampling:
    """How the tokens of an answer are chosen; temperature 0 means the most probable one. The seed
    fixes every choice, so whoever has the model can repeat it (ml/base/sampling.py)."""

    temperature_milli: u32
    top_p_milli: u16
    seed: u64

    @property
    def is_allowed(self) -> bool:
        """Return whether an answer may be asked for that is chosen so."""
        return (
            self.temperature_milli <= TEMPERATURE_MILLI_MAX
            and 1 <= self.top_p_milli <= TOP_P_MILLI_MAX
        )


GREEDY: Final = Sampling(temperature_milli=0, top_p_milli=TOP_P_MILLI_MAX, seed=0)


@scale
class Voucher:
    """An asker's promise to pay for one answer of a channel.

    `train_job` is the training whose adapter shall answer. `sequence` numbers the answers of the
    channel from 1. `question` is `salted_hash` of the text. `may_draw` says whether the question
    may be drawn for references. The server may redeem it up to block `expires_at`.
    """

    genesis: Hash
    channel: u32
    model: u32
    train_job: u32
    sequence: u32
    before_planck: Balance
    limit_planck: Balance
    rates: Rates
    question: Hash
    sampling: Sampling
    may_draw: bool
    expires_at: u32

    def fee(self, tokens_in: int, tokens_out: int) -> int:
        """Return what an answer of so many tokens costs by this voucher's price list, in planck."""
        return self.rates.fee(tokens_in, tokens_out)

    @property
    def price_planck(self) -> int:
        """The most that the answer may cost, in planck; negative for a malformed voucher."""
        return self.limit_planck - self.before_planck


def voucher_payload(voucher: Voucher) -> bytes:
    """Return the bytes that the channel's asker signs."""
    return b"openledger/voucher" + codec(Voucher).encode(voucher)


def voucher_hash(voucher: Voucher) -> Hash:
    """Return the hash by which a receipt names its voucher."""
    return Hash(blake2b_256(voucher_payload(voucher)))


@scale
class SignedVoucher:
    """A voucher with the signature of the account that owns the channel, as it travels."""

    voucher: Voucher
    account: AccountId
    signature: MultiSignature


# ------------------------------------------------------------------------------------ the receipt


@scale
class Receipt:
    """What a server signs for an answer. `answer` is `salted_hash` of the text, `evidence` the
    hash of the Evidence beside it."""

    version: u8
    voucher: Hash
    server: AccountId
    index_job: u32
    adapter: Hash
    tokens_in: u32
    tokens_out: u32
    fee_planck: Balance
    answer: Hash
    evidence: Hash


def receipt_hash(receipt: Receipt) -> Hash:
    """Return the id of a receipt; the serving account signs it."""
    return Hash(blake2b_256(b"openledger/receipt" + codec(Receipt).encode(receipt)))


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
class Evidence:
    """What shaped an answer. `phi` holds k int8 values; `remainder_permille` says how much of the
    absolute influence lies outside `top`."""

    phi: bytes
    top: tuple[RowScore, ...]
    spans: tuple[Span, ...]
    retrieved: tuple[u32, ...]
    remainder_permille: u16


def evidence_hash(evidence: Evidence) -> Hash:
    """Return the hash by which a receipt names its evidence."""
    return Hash(blake2b_256(b"openledger/evidence" + codec(Evidence).encode(evidence)))


@scale
class SignedReceipt:
    """A receipt with the ed25519 signature of the account that served the answer, the voucher that
    paid for it, and its evidence."""

    voucher: SignedVoucher
    receipt: Receipt
    evidence: Evidence
    signature: Bytes64

    @property
    def model(self) -> int:
        """The model that answered."""
        return self.voucher.voucher.model

    @property
    def channel(self) -> int:
        """The channel that pays."""
        return self.voucher.voucher.channel

    @property
    def sequence(self) -> int:
        """The number of the answer in its channel."""
        return self.voucher.voucher.sequence

    @property
    def asker(self) -> AccountId:
        """The account that asked and pays."""
        return self.voucher.account

    @property
    def ends_planck(self) -> int:
        """What the channel owes with this answer, in planck."""
        return self.voucher.voucher.before_planck + self.receipt.fee_planck

    @property
    def is_whole(self) -> bool:
        """Return whether the receipt names this voucher and this evidence, the voucher's sampling
        is allowed, and the fee is the one that the voucher's price list gives and allows."""
        voucher, receipt = self.voucher.voucher, self.receipt
        return (
            receipt.version == RECEIPT_VERSION
            and receipt.voucher == voucher_hash(voucher)
            and voucher.sampling.is_allowed
            and receipt.evidence == evidence_hash(self.evidence)
            and receipt.fee_planck == voucher.fee(receipt.tokens_in, receipt.tokens_out)
            and receipt.fee_planck <= voucher.price_planck
        )


@scale
class EpochReceipts:
    """The file from which an epoch is settled: its receipts by channel and sequence."""

    receipts: tuple[SignedReceipt, ...]


def salted_hash(salt: bytes, text: str) -> Hash:
    """Return the hash of a question or an answer, with the asker's salt of 32 bytes."""
    assert len(salt) == SALT_BYTES, "a salt has 32 bytes"
    return Hash(blake2b_256(b"openledger/text" + salt + text.encode()))


# --------------------------------------------------------------------------------- drawn receipts


@scale
class ShownText:
    """What a server shows of a drawn receipt: its texts, and the tokens of the answer as the model
    gave them, for a text can be cut into tokens in more than one way."""

    receipt: Hash
    salt: Bytes32
    question: str
    answer: str
    tokens: tuple[u32, ...]


@scale
class ShownTexts:
    """The texts of all drawn receipts of an epoch, in the order of their draw."""

    texts: tuple[ShownText, ...]


def drawn_receipts(seed: bytes, fees_planck: Sequence[int], count: int) -> tuple[int, ...]:
    """Return the positions of the receipts that `seed` draws, ascending: `count` draws with a
    chance in proportion to the fee, so a receipt may be drawn twice and counts once."""
    ends = list(accumulate(fees_planck))
    total = ends[-1] if ends else 0
    if total == 0:
        return ()
    if len(ends) <= count:  # so few that all are looked at
        return tuple(at for at, fee in enumerate(fees_planck) if fee)
    drawn = set()
    for number in range(count):
        digest = blake2b_256(b"openledger/draw" + seed + number.to_bytes(4, "little"))
        drawn.add(bisect_right(ends, int.from_bytes(digest[:TICKET_BYTES], "little") % total))
    return tuple(sorted(drawn))


# --------------------------------------------------------------------------------------- feedback


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
