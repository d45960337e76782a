"""What a settlement is computed from: receipts and verdicts that nobody has invented."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.job_inputs import InputsRefused, check_settlement
from runtime.documents import (
    EpochReceipts,
    Feedback,
    Settle,
    SignedFeedback,
    SignedReceipt,
    feedback_payload,
    receipt_hash,
)
from runtime.keys import KeyKind, Keypair
from runtime.primitives import AccountId, Ed25519, Hash, Sr25519
from tests.node.test_receipts import stored

SERVER = Keypair.from_uri("//Alice")
ASKER = Keypair.from_uri("//Zoe", KeyKind.SR25519)
OTHER = Keypair.from_uri("//Eve")
SPEC = Settle(1, 0, Hash(bytes(32)))


def receipt(sequence: int, pair: Keypair = SERVER, **changed: object) -> SignedReceipt:
    accounts = {"server": AccountId(SERVER.account), "asker": AccountId(ASKER.account)}
    document = replace(stored(sequence).signed.receipt, **{**accounts, **changed})  # type: ignore[arg-type]
    return SignedReceipt(document, pair.sign(receipt_hash(document)))


def verdict(signed: SignedReceipt, pair: Keypair = ASKER, negative: bool = True) -> SignedFeedback:
    feedback = Feedback(receipt_hash(signed.receipt), negative)
    signature = pair.sign(feedback_payload(feedback))
    kind = Sr25519 if pair.kind is KeyKind.SR25519 else Ed25519
    return SignedFeedback(feedback, AccountId(pair.account), kind(signature))


ONE, TWO = receipt(0), receipt(1)


def check(receipts: tuple[SignedReceipt, ...], verdicts: tuple[SignedFeedback, ...] = ()) -> None:
    check_settlement(SPEC, AccountId(SERVER.account), EpochReceipts(receipts, verdicts))


def test_signed_receipts_and_verdicts_are_taken() -> None:
    check((ONE, TWO), (verdict(TWO),))


@pytest.mark.parametrize(
    "forged",
    [
        receipt(0, OTHER),
        receipt(0, model=2),
        receipt(0, epoch=1),
        receipt(0, OTHER, server=AccountId(OTHER.account)),
        replace(ONE, receipt=replace(ONE.receipt, contributor_fee_planck=12)),
    ],
)
def test_a_receipt_that_its_server_did_not_sign_for_this_epoch_is_refused(
    forged: SignedReceipt,
) -> None:
    with pytest.raises(InputsRefused):
        check((forged, TWO))


@pytest.mark.parametrize(
    "verdicts",
    [
        (verdict(ONE, OTHER),),
        (replace(verdict(ONE, OTHER), account=AccountId(ASKER.account)),),
        (verdict(ONE, negative=False),),
        (verdict(ONE), verdict(ONE)),
        (verdict(receipt(5)),),
    ],
)
def test_a_verdict_that_is_not_its_askers_is_refused(verdicts: tuple[SignedFeedback, ...]) -> None:
    with pytest.raises(InputsRefused):
        check((ONE, TWO), verdicts)
