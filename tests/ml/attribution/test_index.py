"""The attribution index: what is built is what is loaded, and a receipt replays from it."""

import dataclasses

import numpy as np
import pytest

from ml.attribution.index import (
    BlobMismatchError,
    ContributorCountError,
    IndexMalformedError,
    QuerySketcher,
    build_index,
    load_index,
)
from ml.attribution.verify import Material, verify_receipt
from ml.train.data import encode_text
from runtime.crypto.hashing import blake2b_256
from runtime.crypto.keys import Keypair
from runtime.shared.documents import Receipt, SignedReceipt, receipt_hash
from runtime.trie.merkle import blob_id
from runtime.types.primitives import AccountId, Hash

SIZE = 1024


@pytest.fixture(scope="module")
def build(model, tokenizer, rows, contributors, moments, seed):
    """Build the index of the session's rows, with some arguments changed."""
    arguments = {
        "rows": rows,
        "contributors": contributors,
        "moments": moments,
        "seed": seed,
        "sketch_size": SIZE,
    }
    return lambda **changes: build_index(model, tokenizer, **(arguments | changes))


@pytest.fixture(scope="module")
def built(build):
    return build()


@pytest.fixture(scope="module")
def index(built):
    indexed, files = built
    return load_index(indexed, files.__getitem__)


@pytest.fixture(scope="module")
def sketcher(model, tokenizer, moments, seed):
    return QuerySketcher(model, tokenizer, moments, seed, SIZE)


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


def test_every_file_of_an_index_is_named_by_its_content(built, rows):
    indexed, files = built
    assert all(blob_id(data) == name for name, data in files.items())
    assert {indexed.phi, indexed.psi, indexed.aggregates, *indexed.span_shards} == set(files)
    assert (indexed.rows, indexed.sketch_size) == (len(rows), SIZE)


def test_an_index_is_the_same_each_time(build, built):
    assert build() == built


def test_the_row_that_was_repeated_scores_highest(index, sketcher, rows):
    hits = 0
    for at, row in enumerate(rows):
        scores = index.score(sketcher.sketch(row.prompt, row.completion))
        assert scores.shape == (len(rows),)
        hits += int(np.argmax(scores)) == at
    assert hits >= len(rows) - 2


def test_top_rows_are_sorted_and_agree_with_the_scores(index, sketcher):
    phi = sketcher.sketch("quick brown", "fox jumps")
    scores, top = index.score(phi), index.top(phi, 5)
    assert [row.score for row in top] == sorted(scores.tolist(), reverse=True)[:5]
    assert all(scores[row.row] == row.score for row in top)
    outside = 1 - sum(abs(row.score) for row in top) / np.abs(scores).sum()
    assert index.remainder_permille(phi, top) == pytest.approx(1000 * outside, abs=1)


def test_aggregates_sum_the_rows_of_each_contributor(index, contributors):
    aggregates = index.aggregates
    assert [aggregate.contributor for aggregate in aggregates] == sorted(set(contributors))
    assert sum(aggregate.rows for aggregate in aggregates) == len(contributors)
    answer = np.random.default_rng(0).integers(-127, 128, SIZE).astype(np.int8)
    scores = index.score(answer.tobytes())
    for aggregate in aggregates:
        mine = [at for at, owner in enumerate(contributors) if owner == aggregate.contributor]
        assert np.dot(aggregate.psi_sum, answer.astype(np.int64)) == scores[mine].sum()


def test_two_sketchers_of_one_adapter_and_seed_give_the_same_query_sketch(
    model, tokenizer, moments, seed, sketcher
):
    alone = QuerySketcher(model, tokenizer, moments, seed, SIZE).sketch("a", "bc")
    assert alone == sketcher.sketch("a", "bc")


def test_held_out_rows_neither_score_nor_earn(build, tokenizer, rows, sketcher):
    indexed, files = build(held_out={4})
    index = load_index(indexed, files.__getitem__)
    assert index.score(sketcher.sketch(rows[4].prompt, rows[4].completion))[4] == 0
    assert index.spans(encode_text(rows[4].completion, tokenizer))


def test_a_file_with_other_content_is_refused(built):
    indexed, files = built
    with pytest.raises(BlobMismatchError):
        load_index(indexed, lambda name: files[name] + b"x")


def test_files_that_contradict_the_commitment_are_refused(built):
    indexed, files = built
    with pytest.raises(IndexMalformedError):
        load_index(dataclasses.replace(indexed, rows=indexed.rows - 1), files.__getitem__)
    with pytest.raises(IndexMalformedError):
        load_index(dataclasses.replace(indexed, span_shards=()), files.__getitem__)


def test_each_row_needs_a_contributor(build, contributors):
    with pytest.raises(ContributorCountError):
        build(contributors=contributors[1:])


# ------------------------------------------------------------------------------------------- verify


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
