"""Verification: an honest receipt passes every step, a forged one fails the step that it breaks."""

import dataclasses

import numpy as np
import pytest

from ml.attribution.verify import Material, verify_receipt
from ml.train.data import encode_text
from runtime.crypto.hashing import blake2b_256
from runtime.crypto.keys import Keypair
from runtime.shared.receipts import Receipt, SignedReceipt, receipt_hash
from runtime.types.primitives import AccountId, Hash
from tests.ml.attribution.conftest import INDEX_SIZE as SIZE


@pytest.fixture(scope="module")
def signed(index, sketcher, tokenizer, rows):
    question, answer = rows[4].prompt, rows[4].completion
    phi = sketcher.sketch(question, answer)
    top = index.top(phi)
    keys = Keypair.from_uri("//Alice")
    zero = Hash(bytes(32))
    receipt = Receipt(
        version=1,
        genesis=zero,
        model=1,
        train_job=1,
        index_job=2,
        adapter=zero,
        epoch=0,
        sequence=0,
        server=AccountId(keys.account),
        asker=AccountId(zero),
        channel=0,
        question=Hash(blake2b_256(question.encode())),
        answer=Hash(blake2b_256(answer.encode())),
        tokens_in=1,
        tokens_out=1,
        fee_planck=2,
        contributor_fee_planck=1,
        phi=phi,
        top=top,
        spans=index.spans(encode_text(answer, tokenizer)),
        retrieved=(),
        remainder_permille=index.remainder_permille(phi, top),
    )
    return sign(receipt)


@pytest.fixture(scope="module")
def material(rows, tokenizer, sketcher, contributors):
    return Material(
        question=rows[4].prompt,
        answer=rows[4].completion,
        tokenizer=tokenizer,
        sketcher=sketcher,
        rows=rows,
        contributors=contributors,
    )


def sign(receipt):
    keys = Keypair.from_uri("//Alice")
    return SignedReceipt(receipt, keys.sign(receipt_hash(receipt)))


def failed(checks):
    return {check.name for check in checks if check.passed is False}


def test_an_honest_receipt_passes_every_step(signed, built, material):
    checks = verify_receipt(signed, built[0], built[1].__getitem__, material)
    assert [(check.name, check.detail) for check in checks if check.passed is not True] == []
    assert len(checks) == 12


def test_the_commitments_of_the_index_can_be_left_out(signed, built, material):
    checks = verify_receipt(signed, built[0], built[1].__getitem__, material, with_index=False)
    assert len(checks) == 8
    assert {check.passed for check in checks} == {True}


def test_a_step_without_its_material_is_reported_as_not_checked(signed, built):
    checks = verify_receipt(signed, built[0], built[1].__getitem__)
    unchecked = {check.name for check in checks if check.passed is None}
    assert unchecked == {"texts", "row gradients", "answer sketch", "span shards", "spans"}
    assert failed(checks) == set()


def lie(signed, **changes):
    return sign(dataclasses.replace(signed.receipt, **changes))


def test_each_lie_of_a_server_fails_the_step_that_looks_at_it(signed, built, material):
    honest = signed.receipt
    raised = (dataclasses.replace(honest.top[0], score=honest.top[0].score + 1), *honest.top[1:])
    hidden = honest.top[1:] + honest.top[:1]
    foreign = np.roll(np.frombuffer(honest.phi, np.int8), 1).tobytes()
    lies = {
        "scores": lie(signed, top=raised),
        "completeness": lie(signed, top=hidden),
        "remainder": lie(signed, remainder_permille=honest.remainder_permille + 1),
        "answer sketch": lie(signed, phi=foreign),
        "spans": lie(signed, spans=honest.spans[1:]),
        "texts": lie(signed, question=honest.answer),
        "signature": dataclasses.replace(signed, signature=bytes(64)),
    }
    for name, forged in lies.items():
        checks = verify_receipt(forged, built[0], built[1].__getitem__, material)
        assert name in failed(checks), name


def test_an_empty_answer_was_made_from_nothing(signed, built, material):
    empty = lie(
        signed,
        answer=Hash(blake2b_256(b"")),
        phi=bytes(SIZE),
        top=(),
        spans=(),
        remainder_permille=0,
    )
    material = dataclasses.replace(material, answer="")
    checks = verify_receipt(empty, built[0], built[1].__getitem__, material)
    assert {check.passed for check in checks} == {True}


def test_a_shortened_list_is_incomplete(signed, built):
    forged = lie(signed, top=signed.receipt.top[:5])
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
