"""Verification: an honest receipt passes every step, a forged one fails the step that it breaks."""

import dataclasses

import numpy as np
import pytest

from ml.attribution.verify import Material, verify_receipt
from ml.train.data import encode_text
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
from tests.ml.attribution.conftest import INDEX_SIZE as SIZE

ASKER, SERVER = Keypair.from_uri("//Asker"), Keypair.from_uri("//Alice")
SALT = b"s" * 32


@pytest.fixture(scope="module")
def signed(index, sketcher, tokenizer, rows):
    question, answer = rows[4].prompt, rows[4].completion
    phi = sketcher.sketch(question, answer)
    top = index.top(phi)
    zero = Hash(bytes(32))
    voucher = Voucher(
        genesis=zero,
        channel=0,
        model=1,
        train_job=1,
        sequence=1,
        before_planck=0,
        limit_planck=10,
        rates=Rates(0, 1_000, 1),
        question=salted_hash(SALT, question),
        sampling=GREEDY,
        may_draw=False,
        expires_at=100,
    )
    receipt = Receipt(
        version=RECEIPT_VERSION,
        voucher=zero,
        server=AccountId(SERVER.account),
        index_job=2,
        adapter=zero,
        tokens_in=1,
        tokens_out=1,
        fee_planck=2,
        answer=salted_hash(SALT, answer),
        evidence=zero,
    )
    evidence = Evidence(
        phi=phi,
        top=top,
        spans=index.spans(encode_text(answer, tokenizer)),
        retrieved=(),
        remainder_permille=index.remainder_permille(phi, top),
    )
    return sign(voucher, receipt, evidence)


@pytest.fixture(scope="module")
def material(rows, tokenizer, sketcher, contributors):
    return Material(
        question=rows[4].prompt,
        answer=rows[4].completion,
        salt=SALT,
        tokenizer=tokenizer,
        sketcher=sketcher,
        rows=rows,
        contributors=contributors,
    )


def sign(voucher, receipt, evidence):
    """Sign everything, as a server does that says what it likes."""
    promise = SignedVoucher(
        voucher, AccountId(ASKER.account), Ed25519(ASKER.sign(voucher_payload(voucher)))
    )
    receipt = dataclasses.replace(
        receipt, voucher=voucher_hash(voucher), evidence=evidence_hash(evidence)
    )
    return SignedReceipt(promise, receipt, evidence, SERVER.sign(receipt_hash(receipt)))


def failed(checks):
    return {check.name for check in checks if check.passed is False}


def test_an_honest_receipt_passes_every_step(signed, built, material):
    checks = verify_receipt(signed, built[0], built[1].__getitem__, material)
    assert [(check.name, check.detail) for check in checks if check.passed is not True] == []
    assert len(checks) == 13


def test_the_commitments_of_the_index_can_be_left_out(signed, built, material):
    checks = verify_receipt(signed, built[0], built[1].__getitem__, material, with_index=False)
    assert len(checks) == 9
    assert {check.passed for check in checks} == {True}


def test_a_step_without_its_material_is_reported_as_not_checked(signed, built):
    checks = verify_receipt(signed, built[0], built[1].__getitem__)
    unchecked = {check.name for check in checks if check.passed is None}
    assert unchecked == {"texts", "row gradients", "answer sketch", "span shards", "spans"}
    assert failed(checks) == set()


def lie(signed, **changes):
    """Return a receipt with other fields, of whichever of its three parts they are."""
    parts = []
    for part in (signed.voucher.voucher, signed.receipt, signed.evidence):
        own = {name: changes[name] for name in changes.keys() & vars_of(part)}
        parts.append(dataclasses.replace(part, **own))
    return sign(*parts)


def vars_of(part):
    return {field.name for field in dataclasses.fields(part)}


def test_each_lie_of_a_server_fails_the_step_that_looks_at_it(signed, built, material):
    honest = signed.evidence
    raised = (dataclasses.replace(honest.top[0], score=honest.top[0].score + 1), *honest.top[1:])
    hidden = honest.top[1:] + honest.top[:1]
    foreign = np.roll(np.frombuffer(honest.phi, np.int8), 1).tobytes()
    lies = {
        "scores": lie(signed, top=raised),
        "completeness": lie(signed, top=hidden),
        "remainder": lie(signed, remainder_permille=honest.remainder_permille + 1),
        "answer sketch": lie(signed, phi=foreign),
        "spans": lie(signed, spans=honest.spans[1:]),
        "texts": lie(signed, question=signed.receipt.answer),
        "voucher": lie(signed, fee_planck=3),
        "signature": dataclasses.replace(signed, signature=bytes(64)),
    }
    for name, forged in lies.items():
        checks = verify_receipt(forged, built[0], built[1].__getitem__, material)
        assert name in failed(checks), name


def test_an_empty_answer_was_made_from_nothing(signed, built, material):
    empty = lie(
        signed,
        answer=salted_hash(SALT, ""),
        phi=bytes(SIZE),
        top=(),
        spans=(),
        remainder_permille=0,
    )
    material = dataclasses.replace(material, answer="")
    checks = verify_receipt(empty, built[0], built[1].__getitem__, material)
    assert {check.passed for check in checks} == {True}


def test_a_shortened_list_is_incomplete(signed, built):
    forged = lie(signed, top=signed.evidence.top[:5])
    assert failed(verify_receipt(forged, built[0], built[1].__getitem__)) == {
        "completeness",
        "remainder",
    }


def test_contradictory_data_fails_with_a_reason_instead_of_an_error(signed, built):
    forged = lie(signed, phi=b"short")
    checks = verify_receipt(forged, built[0], built[1].__getitem__)
    assert failed(checks) >= {"scores", "completeness", "remainder"}
    assert all(check.detail for check in checks)


@pytest.mark.parametrize(
    ("field", "step"),
    [
        ("phi_root", "row sketches"),
        ("gram_hash", "row sketches"),
        ("psi_root", "inverse sketches"),
        ("aggregate_root", "aggregates"),
    ],
)
def test_each_wrong_commitment_of_an_index_is_seen(signed, built, field, step):
    indexed = dataclasses.replace(built[0], **{field: Hash(bytes(32))})
    assert failed(verify_receipt(signed, indexed, built[1].__getitem__)) == {step}


def test_rows_given_to_another_contributor_are_seen(signed, built, material, contributors):
    material = dataclasses.replace(material, contributors=contributors[::-1])
    checks = verify_receipt(signed, built[0], built[1].__getitem__, material)
    assert failed(checks) == {"aggregates"}


def test_a_voucher_that_another_signed_is_seen(signed, built):
    forged = dataclasses.replace(
        signed, voucher=dataclasses.replace(signed.voucher, account=AccountId(SERVER.account))
    )
    assert failed(verify_receipt(forged, built[0], built[1].__getitem__)) == {"voucher"}


def test_texts_are_checked_only_with_their_salt(signed, built, material):
    without = dataclasses.replace(material, salt=None)
    checks = verify_receipt(signed, built[0], built[1].__getitem__, without, with_index=False)
    assert [check.name for check in checks if check.passed is None] == ["texts"]
    other = dataclasses.replace(material, salt=bytes(32))
    checks = verify_receipt(signed, built[0], built[1].__getitem__, other, with_index=False)
    assert failed(checks) == {"texts"}
