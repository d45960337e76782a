"""Receipts that asker and server really signed, for answers that nobody gave."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from runtime.crypto.keys import Keypair
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
from runtime.types.primitives import AccountId, Ed25519, Hash

GENESIS = Hash(b"g" * 32)
SERVER, ASKER = Keypair.from_uri("//Alice"), Keypair.from_uri("//Zoe")
RATES = Rates(500, 1_500, 100)
SALT = b"s" * 32
EVIDENCE = Evidence(bytes(8), (), (), (), 0)
FEE = RATES.fee(10, 20)


def voucher_of(sequence: int, before: int | None = None, **changes: Any) -> Voucher:
    """Return the voucher of the answer of a channel with this number."""
    before = (sequence - 1) * FEE if before is None else before
    voucher = Voucher(
        genesis=GENESIS,
        channel=0,
        model=1,
        train_job=5,
        sequence=sequence,
        before_planck=before,
        limit_planck=before + 2 * FEE,
        rates=RATES,
        question=salted_hash(SALT, "Why?"),
        sampling=GREEDY,
        may_draw=False,
        expires_at=10_000,
    )
    return replace(voucher, **changes)


def signed_voucher(voucher: Voucher, asker: Keypair = ASKER) -> SignedVoucher:
    """Return a voucher with its asker's signature."""
    signature = Ed25519(asker.sign(voucher_payload(voucher)))
    return SignedVoucher(voucher, AccountId(asker.account), signature)


def receipt_for(
    voucher: SignedVoucher,
    evidence: Evidence = EVIDENCE,
    server: Keypair = SERVER,
    **changes: Any,
) -> SignedReceipt:
    """Return what a server signs for an answer of 10 and 20 tokens."""
    receipt = Receipt(
        version=RECEIPT_VERSION,
        voucher=voucher_hash(voucher.voucher),
        server=AccountId(server.account),
        index_job=6,
        adapter=Hash(b"a" * 32),
        tokens_in=10,
        tokens_out=20,
        fee_planck=voucher.voucher.fee(10, 20),
        answer=salted_hash(SALT, "Because."),
        evidence=evidence_hash(evidence),
    )
    receipt = replace(receipt, **changes)
    return SignedReceipt(voucher, receipt, evidence, server.sign(receipt_hash(receipt)))


def paper_receipt(sequence: int, server: Keypair = SERVER, **changes: Any) -> SignedReceipt:
    """Return an honest receipt of channel 0; `changes` are to its voucher."""
    return receipt_for(signed_voucher(voucher_of(sequence, **changes)), server=server)
