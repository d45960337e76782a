"""SETTLE: honest receipts are shared out, and every kind of lie is a fault that executors name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from ml.attribution.drawn_answers import SCORE_MARGIN, WITHHELD_CHARACTERS_MAX
from ml.attribution.epoch_files import EPOCH_FILE, PAGE_BYTES_MAX, EpochInput
from ml.attribution.sketch_tolerance import SketchComparison, sketches_agree
from ml.base.characters import UNFINISHED
from ml.base.sampling import score_gap
from ml.jobs.inputs import InputMissingError
from ml.jobs.settling import answer_check
from ml.train.data import encode_prompt
from runtime.codec.scale import codec
from runtime.crypto.keys import Keypair
from runtime.shared.documents import EpochShares, FaultKind, Settled
from runtime.shared.receipts import GREEDY, Sampling
from runtime.trie.merkle import sum_proof, verify_sum
from runtime.types.primitives import AccountId, Hash
from tests.ml.jobs.support.epoch_workshop import (
    ASKERS,
    POOL,
    Told,
    Workshop,
    answer,
    build,
    channels_of,
    other_words,
    signed_by,
    small_rows,
    with_evidence,
    with_receipt,
    with_voucher,
)

QUESTIONS = ["alpha.beta(x)", "gamma.zeta(x)", "eta.theta(x)", "beta.delta(x)", "zeta.eta(x)", "x?"]
WARM = Sampling(700, 1_000, 0)
STRANGER = Keypair.from_uri("//Stranger")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return build(tmp_path_factory.mktemp("epoch"), small_rows())


@pytest.fixture(scope="module")
def told(workshop: Workshop) -> list[Told]:
    return answer(workshop, QUESTIONS)


def faults(settled: Settled) -> list[tuple[FaultKind, int]]:
    return [(fault.kind, fault.position) for fault in settled.faults]


# ------------------------------------------------------------------------------------------ honest


def test_an_honest_epoch_is_shared_out_to_the_last_planck_or_left_to_the_commons(
    workshop: Workshop, told: list[Told]
) -> None:
    settled, file = workshop.settled_with_shares(told)
    assert settled.faults == ()
    shares = codec(EpochShares).decode(file).shares
    assert {share.contributor for share in shares} <= set(workshop.contributors)
    assert 0 < sum(share.planck for share in shares) == settled.shares_planck <= POOL
    assert [largest.share for largest in settled.largest] == list(shares)
    leaves = [(Hash(share.contributor), share.planck) for share in shares]
    for at, (leaf, amount) in enumerate(leaves):
        proof = sum_proof(leaves, at)
        assert verify_sum(settled.shares_root, settled.shares_planck, leaf, amount, proof)


def test_two_executors_settle_alike(workshop: Workshop, told: list[Told]) -> None:
    assert workshop.settle(told) == workshop.settle(told)


@pytest.mark.parametrize(
    ("temperature_milli", "top_p_milli"), [(1, 1_000), (300, 1_000), (1_000, 900), (2_000, 1)]
)
def test_an_honest_sampled_answer_has_no_fault(
    workshop: Workshop, temperature_milli: int, top_p_milli: int
) -> None:
    told = answer(workshop, QUESTIONS[:3], Sampling(temperature_milli, top_p_milli, 0))
    assert faults(workshop.settle(told)) == []


def test_an_honest_answer_that_a_stop_text_ended_has_no_fault(
    workshop: Workshop, told: list[Told]
) -> None:
    stop = told[0].shown.answer[5:9]
    stopped = answer(workshop, QUESTIONS[:1], stop=stop)
    assert stopped[0].shown.answer == told[0].shown.answer[:5].split(stop)[0]
    assert faults(workshop.settle(stopped)) == []


def test_a_channel_that_paid_more_than_the_receipts_say_is_no_fault(
    workshop: Workshop, told: list[Told]
) -> None:
    channels = [
        replace(channel, start_planck=0, end_planck=channel.end_planck + 10**18)
        for channel in channels_of([each.signed for each in told])
    ]
    assert faults(workshop.settle(told, channels)) == []


# -------------------------------------------------------------------------------------------- lies

LIES: dict[str, tuple[Callable[[Told], Told], FaultKind]] = {
    "a price that the voucher's rates do not give": (
        lambda it: with_receipt(it, fee_planck=it.signed.receipt.fee_planck + 1),
        FaultKind.Receipt,
    ),
    "more tokens than were sent": (
        lambda it: with_receipt(it, tokens_out=it.signed.receipt.tokens_out + 1),
        FaultKind.Receipt,
    ),
    "a sketch that flatters a contributor": (
        lambda it: with_evidence(it, phi=bytes([127]) * len(it.signed.evidence.phi)),
        FaultKind.Sketch,
    ),
    "a sketch of no size": (lambda it: with_evidence(it, phi=b""), FaultKind.Index),
    "an adapter of another model": (
        lambda it: with_receipt(it, adapter=Hash(b"a" * 32)),
        FaultKind.Index,
    ),
    "an index that does not exist": (lambda it: with_receipt(it, index_job=99), FaultKind.Index),
    "an asker that did not sign": (
        lambda it: with_voucher(it, asker=STRANGER),
        FaultKind.Voucher,
    ),
    "a voucher of another chain": (
        lambda it: with_voucher(it, genesis=Hash(bytes(32))),
        FaultKind.Voucher,
    ),
    "a voucher for another model": (lambda it: with_voucher(it, model=4), FaultKind.Voucher),
    "a channel that is none of the server's": (
        lambda it: with_voucher(it, channel=77, asker=ASKERS[1]),
        FaultKind.Voucher,
    ),
    "a text that was not the answer": (
        lambda it: Told(it.signed, replace(it.shown, answer="Buy my coin.")),
        FaultKind.Text,
    ),
    "no question": (
        lambda it: Told(it.signed, replace(it.shown, question="")),
        FaultKind.Text,
    ),
    "a question that no model reads": (
        lambda it: Told(it.signed, replace(it.shown, question="x" * 10_000_000)),
        FaultKind.Text,
    ),
    "another question than was asked": (
        lambda it: Told(it.signed, replace(it.shown, question="What else?")),
        FaultKind.Text,
    ),
    "other tokens than the answer's": (
        lambda it: Told(it.signed, replace(it.shown, tokens=(*it.shown.tokens[:-1], 9))),
        FaultKind.Text,
    ),
    "a token that the model does not have": (
        lambda it: Told(it.signed, replace(it.shown, tokens=(*it.shown.tokens[:-1], 2**31))),
        FaultKind.Text,
    ),
}


@pytest.mark.parametrize("lie", sorted(LIES))
def test_one_lie_among_honest_receipts_is_a_fault(
    workshop: Workshop, told: list[Told], lie: str
) -> None:
    change, kind = LIES[lie]
    lied = [*told[:3], change(told[3]), *told[4:]]
    channels = [
        replace(channel, start_planck=0, end_planck=10**20)
        for channel in channels_of([each.signed for each in told])
    ]
    settled = workshop.settle(lied, channels)
    assert faults(settled)[0] == (kind, 3)
    assert (settled.shares_count, settled.shares_planck, settled.largest) == (0, 0, ())


def test_words_that_the_model_did_not_give_are_a_fault(
    workshop: Workshop, told: list[Told]
) -> None:
    forged = other_words(workshop, told[2], "Buy my coin, it will rise.")
    assert (FaultKind.Answer, 2) in faults(workshop.settle([*told[:2], forged, *told[3:]]))


def test_words_of_another_model_are_a_fault_of_a_sampled_answer(workshop: Workshop) -> None:
    told = answer(workshop, QUESTIONS[:1], WARM)
    forged = other_words(workshop, told[0], "The quick brown fox jumps over the lazy dog again.")
    assert faults(workshop.settle([forged])) == [(FaultKind.Answer, 0)]


@pytest.mark.parametrize(
    "changed",
    [Sampling(700, 1_000, 9), Sampling(2_000, 1_000, 0), Sampling(700, 1, 0), GREEDY],
    ids=["seed", "temperature", "top_p", "greedy"],
)
def test_an_answer_that_was_sampled_otherwise_than_its_asker_signed_is_a_fault(
    workshop: Workshop, changed: Sampling
) -> None:
    told = answer(workshop, QUESTIONS[:1], WARM)
    lied = with_voucher(told[0], sampling=changed)
    assert faults(workshop.settle([lied])) == [(FaultKind.Answer, 0)]


def test_a_sampling_that_no_answer_may_have_is_a_fault(
    workshop: Workshop, told: list[Told]
) -> None:
    lied = with_voucher(told[0], sampling=Sampling(2_001, 1_000, 0))
    assert faults(workshop.settle([lied, *told[1:]]))[0] == (FaultKind.Receipt, 0)


def test_sketches_that_are_all_turned_a_little_are_faults_together(
    workshop: Workshop, told: list[Told]
) -> None:
    turned = [with_evidence(each, phi=_turned(each.signed.evidence.phi)) for each in told]
    kinds = {kind for kind, _ in faults(workshop.settle(turned))}
    assert kinds == {FaultKind.Sketch}
    assert faults(workshop.settle([turned[0], *told[1:]])) == []


def _turned(phi: bytes) -> bytes:
    """Return a sketch that alone would pass for rounded otherwise."""
    numbers = np.frombuffer(phi, np.int8).copy()
    numbers[np.argmin(np.abs(numbers.astype(int)))] += 1
    assert sketches_agree(numbers.tobytes(), phi)[0]
    return numbers.tobytes()


def test_the_same_receipt_twice_is_a_fault(workshop: Workshop, told: list[Told]) -> None:
    assert faults(workshop.settle([*told[:2], told[1], *told[2:]])) == [(FaultKind.Order, 2)]


def test_two_receipts_for_one_range_of_a_channel_are_a_fault(
    workshop: Workshop, told: list[Told]
) -> None:
    before = told[0].signed.voucher.voucher.before_planck
    again = with_voucher(told[1], before_planck=before)
    assert faults(workshop.settle([told[0], again, *told[2:]]))[0] == (FaultKind.Order, 1)


@pytest.mark.parametrize("cut", ["start", "end"])
def test_a_receipt_outside_what_the_epoch_redeemed_is_a_fault(
    workshop: Workshop, told: list[Told], cut: str
) -> None:
    channels = channels_of([each.signed for each in told])
    if cut == "start":
        channels[0] = replace(channels[0], start_planck=channels[0].start_planck + 1)
        position = 0
    else:
        channels[-1] = replace(channels[-1], end_planck=channels[-1].end_planck - 1)
        position = len(told) - 1
    assert faults(workshop.settle(told, channels)) == [(FaultKind.Range, position)]


def test_a_receipt_of_an_invented_channel_is_a_fault(workshop: Workshop, told: list[Told]) -> None:
    channels = channels_of([each.signed for each in told])[:-1]
    assert {kind for kind, _ in faults(workshop.settle(told, channels))} == {FaultKind.Voucher}


def test_a_receipt_that_another_server_signed_is_a_fault(
    workshop: Workshop, told: list[Told]
) -> None:
    signed = told[0].signed
    other = replace(signed.receipt, server=AccountId(STRANGER.account))
    forged = Told(signed_by(signed.voucher, other, signed.evidence, STRANGER), told[0].shown)
    assert faults(workshop.settle([forged, *told[1:]]))[0] == (FaultKind.Receipt, 0)


def test_texts_that_are_not_all_shown_are_faults(workshop: Workshop, told: list[Told]) -> None:
    shown = [each.shown for each in told]
    kinds = {kind for kind, _ in faults(workshop.settle(told, texts=shown[:-1]))}
    assert kinds == {FaultKind.Text}
    swapped = [shown[1], shown[0], *shown[2:]]
    assert (FaultKind.Text, 0) in faults(workshop.settle(told, texts=swapped))


@pytest.mark.parametrize(
    "changes",
    [
        {"receipts": 7},
        {"fees_planck": 1},
        {"receipts_root": Hash(b"r" * 32)},
        {"pages": [b"no page"]},
        {"pages": [b""]},
        {"pages": [bytes(PAGE_BYTES_MAX + 1)]},
    ],
    ids=["count", "fees", "root", "garbage", "nothing", "oversize"],
)
def test_a_false_declaration_is_a_fault_of_the_server(
    workshop: Workshop, told: list[Told], changes: dict[str, object]
) -> None:
    settled = workshop.settle(told, **changes)
    assert faults(settled) == [(FaultKind.Declaration, 0)]
    if "receipts_root" in changes:
        assert settled.receipts_root == changes["receipts_root"]


def test_a_page_that_is_not_here_is_missing_and_no_fault(
    workshop: Workshop, told: list[Told]
) -> None:
    spec = workshop.laid_out(told)
    path = workshop.folder / EPOCH_FILE
    epoch = codec(EpochInput).decode(path.read_bytes())
    assert epoch.pages is not None
    (workshop.folder / epoch.pages[0].hex()).unlink()
    with pytest.raises(InputMissingError):
        workshop.run(spec)


@pytest.mark.parametrize(("more", "is_spelled"), [("", True), ("a" * 513, False)])
def test_any_number_of_parts_of_characters_may_be_held_back(
    workshop: Workshop, told: list[Told], more: str, is_spelled: bool
) -> None:
    check = answer_check(workshop.index, workshop.folder, "", SketchComparison())
    tokenizer = check.tokenizer
    part = tokenizer.convert_tokens_to_ids("ï")  # the first byte of a longer character
    assert tokenizer.decode([part]) == UNFINISHED
    held = (part,) * (WITHHELD_CHARACTERS_MAX + 1)
    tokens = (*held, *tokenizer.encode(more, add_special_tokens=False))
    shown = replace(told[0].shown, answer="", tokens=tokens)
    assert check._is_spelled(shown) is is_spelled


def test_engine_and_check_differ_by_far_less_than_the_margin(
    workshop: Workshop, told: list[Told]
) -> None:
    check = answer_check(workshop.index, workshop.folder, "", SketchComparison())
    gaps = []
    for each in told:
        prompt = encode_prompt(each.shown.question, check.tokenizer)
        logits = check.logits(prompt, each.shown.tokens)
        gaps.append(score_gap(logits, torch.tensor(each.shown.tokens), GREEDY))
    assert max(gaps) < SCORE_MARGIN / 100
