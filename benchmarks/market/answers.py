"""Answers of the simulated market: what was signed about one, and what is true of it.

A simulated answer has no model behind it. Its texts are short strings, its sketch comes from the
seed; whether text, sketch and answer are the truth is known beside the receipt, where only a look
at the drawn texts finds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from benchmarks.market.chain import GENESIS_HASH
from benchmarks.market.keys import account, signature
from benchmarks.market.terms import ADAPTER, INDEX_JOB, MODEL, TRAIN_JOB
from ml.attribution.sketch import quantized
from runtime.crypto.hashing import blake2b_256
from runtime.shared.documents import FaultKind
from runtime.shared.receipts import (
    GREEDY,
    RECEIPT_VERSION,
    Evidence,
    Rates,
    Receipt,
    SignedReceipt,
    SignedVoucher,
    Voucher,
    evidence_hash,
    receipt_hash,
    salted_hash,
    voucher_hash,
    voucher_payload,
)
from runtime.types.primitives import Ed25519, Hash


@dataclass(frozen=True, slots=True)
class Question:
    """A question: its text, the tokens in it, those of its whole answer, and the true sketch."""

    text: str
    tokens_in: int
    tokens_out: int
    phi: bytes

    @property
    def salt(self) -> bytes:
        """The asker's salt."""
        return blake2b_256(b"salt" + self.text.encode())


@dataclass(frozen=True, slots=True)
class Answer:
    """A signed receipt with what a look at its texts finds: None where all of it is true."""

    signed: SignedReceipt
    fault: FaultKind | None = None

    @property
    def is_delivered(self) -> bool:
        """Whether the asker got the answer that it paid for; a false sketch does it no harm."""
        return self.fault not in (FaultKind.Text, FaultKind.Answer)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a server writes into a receipt where it does not write the truth."""

    phi: bytes | None = None
    tokens_out: int | None = None
    fee_planck: int | None = None
    index_job: int = INDEX_JOB
    adapter: Hash = ADAPTER
    fault: FaultKind | None = None


@lru_cache(maxsize=4096)
def _question_hash(salt: bytes, text: str) -> Hash:
    return salted_hash(salt, text)


def signed_voucher(
    asker: str,
    question: Question,
    *,
    channel: int,
    sequence: int,
    before_planck: int,
    limit_planck: int,
    rates: Rates,
    expires_at: int,
) -> SignedVoucher:
    """Return a voucher of an asker for one answer."""
    voucher = Voucher(
        genesis=GENESIS_HASH,
        channel=channel,
        model=MODEL,
        train_job=TRAIN_JOB,
        sequence=sequence,
        before_planck=before_planck,
        limit_planck=limit_planck,
        rates=rates,
        question=_question_hash(question.salt, question.text),
        sampling=GREEDY,
        may_draw=True,
        expires_at=expires_at,
    )
    return sign_voucher(asker, voucher)


def sign_voucher(asker: str, voucher: Voucher) -> SignedVoucher:
    """Return a voucher with the signature of its asker."""
    signed = Ed25519(signature(asker, voucher_payload(voucher)))
    return SignedVoucher(voucher, account(asker), signed)


def make_answer(
    server: str,
    voucher: SignedVoucher,
    question: Question,
    tokens_out: int,
    claims: Claims | None = None,
) -> Answer:
    """Return an answer of so many tokens with the receipt that its server signs."""
    claims = claims or Claims()
    if claims.tokens_out is not None:
        tokens_out = claims.tokens_out
    fee = voucher.voucher.fee(question.tokens_in, tokens_out)
    evidence = Evidence(claims.phi or question.phi, (), (), (), 0)
    receipt = Receipt(
        version=RECEIPT_VERSION,
        voucher=voucher_hash(voucher.voucher),
        server=account(server),
        index_job=claims.index_job,
        adapter=claims.adapter,
        tokens_in=question.tokens_in,
        tokens_out=tokens_out,
        fee_planck=fee if claims.fee_planck is None else claims.fee_planck,
        answer=Hash(blake2b_256(b"answer" + question.text.encode())),
        evidence=evidence_hash(evidence),
    )
    signed = SignedReceipt(voucher, receipt, evidence, signature(server, receipt_hash(receipt)))
    return Answer(signed, claims.fault)


def as_sketch(values: Sequence[int]) -> bytes:
    """Return numbers as a sketch: of the norm that all sketches have."""
    return quantized(np.array([values], np.float64)).tobytes()
