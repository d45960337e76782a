"""The executive: what a block may hold, what it costs, and what is refused."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pallets.balances import EXISTENTIAL_DEPOSIT
from runtime.codec.scale import DecodeError, codec, encode_compact
from runtime.crypto.keys import KeyKind, Keypair
from runtime.frame import executive
from runtime.frame.dispatch import ModuleError, Token
from runtime.frame.executive import BodyRefusedError, InvalidBlockError
from runtime.frame.extrinsic import Additional, Extra, MetadataHashMode
from runtime.frame.fees import (
    BASE_FEE,
    BLOCK_LENGTH_MAX,
    BYTE_FEE,
    EXTRINSIC_BASE_WEIGHT,
    EXTRINSIC_PERCENT,
    NORMAL_PERCENT,
)
from runtime.frame.state import Overlay
from runtime.frame.validity import (
    AncientBirthBlock,
    BadProof,
    BadSigner,
    CannotLookupSigner,
    ExhaustsResources,
    Future,
    InvalidTransaction,
    MandatoryValidation,
    Payment,
    Stale,
    TransactionRefused,
    UnknownTransaction,
    ValidTransaction,
)
from runtime.trie.trie import ordered_root
from runtime.types.era import IMMORTAL, mortal
from runtime.types.primitives import (
    OPEN,
    ZERO_HASH,
    AccountId,
    Address32,
    Digest,
    Hash,
    Header,
    Id,
    Other,
    PreRuntime,
    Weight,
)
from tests.conftest import REPOSITORY
from tests.runtime.support.blocks import ALICE, BOB, EVE, Blocks, with_root

HEADER = codec(Header)
LENGTH_MAX = BLOCK_LENGTH_MAX * EXTRINSIC_PERCENT // 100


@pytest.fixture
def blocks() -> Blocks:
    return Blocks()


def refusal(blocks: Blocks, raw: bytes) -> InvalidTransaction | UnknownTransaction:
    with pytest.raises(TransactionRefused) as refused:
        blocks.executive.validate(blocks.state, blocks.best, blocks.decode(raw))
    return refused.value.reason


def validate(blocks: Blocks, raw: bytes) -> ValidTransaction:
    return blocks.executive.validate(blocks.state, blocks.best, blocks.decode(raw))


def seal_unchecked(blocks: Blocks, *extrinsics: bytes) -> tuple[Header, tuple[bytes, ...]]:
    """A block that names extrinsics which its author should not have included."""
    empty = blocks.build()
    body = (*empty.extrinsics, *extrinsics)
    return with_root(empty.header, ordered_root(body)), body


def assert_refused(blocks: Blocks, raw: bytes, reason: str) -> None:
    header, body = seal_unchecked(blocks, raw)
    with pytest.raises(InvalidBlockError, match=reason):
        blocks.execute(header, body)


# --------------------------------------------------------------------------------- good blocks


def test_a_transfer_moves_the_value_and_costs_the_fee(blocks: Blocks) -> None:
    raw = blocks.transfer(value=3 * OPEN, tip=7)
    before, bob = blocks.free(ALICE), blocks.free(BOB)
    executed = blocks.add(raw)
    assert executed.extrinsics[1:] == (raw,)
    assert not executed.refused
    assert blocks.free(BOB) == bob + 3 * OPEN
    fee = before - blocks.free(ALICE) - 3 * OPEN
    assert fee >= BASE_FEE + len(raw) * BYTE_FEE + 7
    assert blocks.nonce(ALICE) == 1
    paid = [event for event in blocks.events() if type(event).__name__ == "TransactionFeePaid"]
    assert (paid[0].actual_fee, paid[0].tip) == (fee, 7)


def test_a_failed_call_pays_and_uses_its_nonce(blocks: Blocks) -> None:
    before, bob = blocks.free(ALICE), blocks.free(BOB)
    blocks.add(blocks.transfer(value=10**30))
    assert blocks.free(BOB) == bob
    assert 0 < before - blocks.free(ALICE) < OPEN
    assert blocks.nonce(ALICE) == 1
    failed = [event for event in blocks.events() if type(event).__name__ == "ExtrinsicFailed"]
    assert isinstance(failed[0].dispatch_error, Token | ModuleError)


def test_a_fee_is_charged_first_and_refunded_by_the_actual_weight(blocks: Blocks) -> None:
    machine = blocks.machine
    fails = machine.call(
        "Balances", "transfer_keep_alive", dest=Id(AccountId(BOB.account)), value=10**30
    )
    remark = machine.call("System", "remark", remark=b"")
    calls = (fails, *(remark,) * 50)
    raw = blocks.sign("Utility", "batch", calls=calls)
    quoted = fee_of(blocks, raw)
    before = blocks.free(ALICE)
    blocks.add(raw)
    assert 0 < before - blocks.free(ALICE) < quoted


def fee_of(blocks: Blocks, raw: bytes) -> int:
    extrinsic = blocks.decode(raw)
    payment: Any = blocks.machine.pallets["TransactionPayment"]
    with blocks.machine.on(Overlay(blocks.state)):
        total: int = payment.query_info(extrinsic, len(raw)).partial_fee
    return total


def test_executing_a_built_block_gives_the_same_header_changes_and_nodes(blocks: Blocks) -> None:
    for count in range(3):
        built = blocks.build(
            *(blocks.transfer(nonce=count * 2 + each) for each in range(2)),
            blocks.remark(40, EVE),
            logs=(PreRuntime(b"slot", b"claim"), Other(b"note")),
        )
        executed = blocks.execute(built.header, built.extrinsics)
        assert executed.header == built.header
        assert executed.changes == built.changes
        assert executed.nodes == built.nodes
        blocks.keep(built)


def test_a_refused_candidate_leaves_no_trace(blocks: Blocks) -> None:
    bad = blocks.transfer(EVE, nonce=5)
    assert blocks.build(blocks.transfer(), bad).header == blocks.build(blocks.transfer()).header


def test_two_processes_with_different_hash_seeds_build_identical_blocks() -> None:
    program = (
        "from tests.runtime.support.blocks import Blocks, ALICE, BOB, EVE\n"
        "blocks = Blocks()\n"
        "for n in range(3):\n"
        "    blocks.add(blocks.transfer(nonce=n), blocks.remark(9, EVE),"
        " blocks.transfer(BOB, 10**30))\n"
        "    print(blocks.best.hash.hex())\n"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=REPOSITORY,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    first, second = (run.communicate(timeout=60)[0] for run in runs)
    assert first.count("\n") == 3
    assert first == second


# ------------------------------------------------------------------------------ damaged blocks


def test_any_changed_byte_of_a_header_is_refused(blocks: Blocks) -> None:
    built = blocks.build(blocks.transfer(), logs=(Other(b"note"),))
    raw = HEADER.encode(built.header)
    source = random.Random(7)
    for at in range(len(raw)):
        changed = bytearray(raw)
        changed[at] ^= 1 << source.randrange(8)
        with pytest.raises((InvalidBlockError, DecodeError)):
            blocks.execute(HEADER.decode(bytes(changed)), built.extrinsics)


def test_any_changed_byte_of_a_body_is_refused_whether_or_not_the_root_is_adapted(
    blocks: Blocks,
) -> None:
    built = blocks.build(blocks.transfer())
    source = random.Random(8)
    for index, raw in enumerate(built.extrinsics):
        for at in range(len(raw)):
            changed = bytearray(raw)
            changed[at] ^= 1 << source.randrange(8)
            body = list(built.extrinsics)
            body[index] = bytes(changed)
            with pytest.raises(InvalidBlockError, match="extrinsics root"):
                blocks.execute(built.header, body)
            adapted = with_root(built.header, ordered_root(body))
            with pytest.raises(InvalidBlockError):
                blocks.execute(adapted, body)


def test_a_block_must_follow_its_parent(blocks: Blocks) -> None:
    built = blocks.build()
    blocks.add()
    with pytest.raises(InvalidBlockError, match="does not follow"):
        blocks.execute(built.header, built.extrinsics)
    with pytest.raises(InvalidBlockError, match="does not follow"):
        blocks.execute(replace(blocks.build().header, number=7), built.extrinsics)


def test_missing_swapped_and_doubled_extrinsics_are_refused(blocks: Blocks) -> None:
    built = blocks.build(blocks.transfer(), blocks.transfer(EVE))
    stamp, first, second = built.extrinsics
    for body in ((stamp, first), (stamp, second, first), (stamp, first, second, second), ()):
        with pytest.raises(InvalidBlockError, match="extrinsics root"):
            blocks.execute(built.header, body)
        header = with_root(built.header, ordered_root(body))
        with pytest.raises(InvalidBlockError):
            blocks.execute(header, body)


@given(st.binary(max_size=200))
def test_garbage_in_a_body_is_refused(garbage: bytes) -> None:
    assert_refused(Blocks(), garbage, "extrinsic 1")


# ----------------------------------------------------------------------------------- inherents


def test_a_block_without_a_timestamp_is_refused(blocks: Blocks) -> None:
    built = blocks.build()
    empty = with_root(built.header, ordered_root(()))
    with pytest.raises(InvalidBlockError, match="Timestamp: a block sets its timestamp"):
        blocks.execute(empty, ())
    with pytest.raises(InvalidBlockError, match="timestamp"):
        blocks.build(inherents=())


def test_a_second_timestamp_is_refused(blocks: Blocks) -> None:
    stamps = (blocks.timestamp(), blocks.timestamp(now=10**9))
    with pytest.raises(InvalidBlockError, match="set already"):
        blocks.build(inherents=stamps)


def test_a_timestamp_that_does_not_advance_is_refused(blocks: Blocks) -> None:
    blocks.add()
    with pytest.raises(InvalidBlockError, match="not after"):
        blocks.build(inherents=(blocks.timestamp(number=1),))


def test_an_inherent_after_a_signed_extrinsic_is_refused(blocks: Blocks) -> None:
    built = blocks.build(blocks.transfer())
    body = (built.extrinsics[1], built.extrinsics[0])
    header = with_root(built.header, ordered_root(body))
    with pytest.raises(InvalidBlockError, match="inherent follows"):
        blocks.execute(header, body)


def test_an_unsigned_call_that_is_no_inherent_is_refused(blocks: Blocks) -> None:
    call = blocks.machine.call("System", "remark", remark=b"free of charge")
    raw = blocks.machine.extrinsics.inherent(call)
    assert_refused(blocks, raw, "no inherent")
    with pytest.raises(InvalidBlockError, match="no inherent"):
        blocks.build(inherents=(blocks.timestamp(), raw))


def test_garbage_as_an_inherent_is_an_invalid_block(blocks: Blocks) -> None:
    with pytest.raises(InvalidBlockError):
        blocks.build(inherents=(b"garbage",))


def test_a_signed_transaction_is_no_inherent(blocks: Blocks) -> None:
    raw = blocks.sign("Timestamp", "set", now=10**9)
    with pytest.raises(InvalidBlockError, match="signed"):
        blocks.build(inherents=(raw,))


def test_an_inherent_is_no_transaction(blocks: Blocks) -> None:
    assert refusal(blocks, blocks.timestamp()) == MandatoryValidation()


def test_a_signed_timestamp_fails_and_pays(blocks: Blocks) -> None:
    before = blocks.free(ALICE)
    blocks.add(blocks.sign("Timestamp", "set", now=10**9))
    assert "ExtrinsicFailed" in [type(event).__name__ for event in blocks.events()]
    assert blocks.free(ALICE) < before


# ---------------------------------------------------------------------------- nonces, signatures


def test_a_nonce_is_used_once_and_in_order(blocks: Blocks) -> None:
    first = blocks.transfer()
    assert isinstance(refusal_in_build(blocks, blocks.transfer(nonce=1)), Future)
    blocks.add(first)
    assert refusal(blocks, first) == Stale()
    assert isinstance(refusal_in_build(blocks, first), Stale)
    assert_refused(blocks, first, "too low")
    assert_refused(blocks, blocks.transfer(nonce=2), "too high")


def refusal_in_build(blocks: Blocks, raw: bytes) -> object:
    executed = blocks.build(raw)
    assert executed.extrinsics == (blocks.timestamp(),)
    return executed.refused[0][1].reason


def test_a_future_nonce_is_valid_and_waits_for_the_one_before(blocks: Blocks) -> None:
    ready, later = validate(blocks, blocks.transfer()), validate(blocks, blocks.transfer(nonce=1))
    assert ready.requires == ()
    assert later.requires == ready.provides
    assert later.provides != ready.provides
    assert ready.longevity == 2**64 - 1


def wrong(blocks: Blocks) -> dict[str, Additional]:
    right = blocks.additional()
    return {
        "genesis": replace(right, genesis_hash=Hash(b"x" * 32)),
        "spec version": replace(right, spec_version=2),
        "transaction version": replace(right, transaction_version=2),
        "birth block": replace(right, birth_hash=Hash(b"y" * 32)),
        "metadata hash": replace(right, metadata_hash=b"z" * 32),
    }


@pytest.mark.parametrize(
    "part", ["genesis", "spec version", "transaction version", "birth block", "metadata hash"]
)
def test_a_signature_for_another_chain_or_version_is_refused(blocks: Blocks, part: str) -> None:
    raw = blocks.transfer(additional=wrong(blocks)[part])
    assert refusal(blocks, raw) == BadProof()
    assert_refused(blocks, raw, "signature")


@pytest.mark.parametrize("kind", KeyKind)
def test_any_changed_byte_of_a_signature_is_refused(blocks: Blocks, kind: KeyKind) -> None:
    raw = blocks.transfer(Keypair.from_uri("//Alice", kind))
    assert validate(blocks, raw)
    at = raw.index(blocks.decode(raw).signed.signature.signature)  # type: ignore[union-attr]
    for offset in range(64):
        changed = bytearray(raw)
        changed[at + offset] ^= 1
        assert refusal(blocks, bytes(changed)) == BadProof()


def test_a_signature_of_somebody_else_is_refused(blocks: Blocks) -> None:
    raw = blocks.transfer(EVE)
    stolen = raw.replace(EVE.account, ALICE.account, 1)
    assert refusal(blocks, stolen) == BadProof()


def test_an_ecdsa_signature_is_refused(blocks: Blocks) -> None:
    raw = blocks.transfer()
    at = raw.index(ALICE.account) + 32
    body = raw[:at] + b"\x02" + bytes(65) + raw[at + 65 :]
    prefix = 2
    rebuilt = encode_compact(len(body) - prefix) + body[prefix:]
    assert refusal(blocks, rebuilt) == BadProof()


def test_an_address_in_another_form_does_not_resolve(blocks: Blocks) -> None:
    raw = blocks.transfer()
    at = raw.index(ALICE.account)
    assert raw[at - 1] == 0
    other = raw[: at - 1] + bytes((Address32._index,)) + raw[at:]  # type: ignore[attr-defined]
    assert refusal(blocks, other) == CannotLookupSigner()
    assert_refused(blocks, other, "address")


def test_the_zero_account_signs_nothing(blocks: Blocks) -> None:
    raw = blocks.transfer().replace(ALICE.account, bytes(32), 1)
    assert refusal(blocks, raw) == BadSigner()


# --------------------------------------------------------------------------------------- eras


def test_a_mortal_transaction_is_valid_within_its_era_alone(blocks: Blocks) -> None:
    blocks.add_empty(5)
    era = mortal(4, 5)
    raw = blocks.transfer(era=era)
    assert validate(blocks, raw).longevity == era.death(6) - 6
    last = era.death(5) - 1
    while blocks.best.number + 1 < last:
        blocks.add()
    assert validate(blocks, raw).longevity == 1
    assert blocks.build(raw).extrinsics[1:] == (raw,)
    built = blocks.build(raw)
    assert blocks.execute(built.header, built.extrinsics).header == built.header
    blocks.add()
    # The next era would begin with the block that is being made, whose hash nobody knows yet.
    assert refusal(blocks, raw) == AncientBirthBlock()
    assert_refused(blocks, raw, "era is over")
    blocks.add()
    assert refusal(blocks, raw) == BadProof()
    assert_refused(blocks, raw, "signature")


def test_an_era_whose_first_block_is_not_remembered_is_refused(blocks: Blocks) -> None:
    blocks.add()
    raw = blocks.transfer(era=mortal(64, 50), additional=blocks.additional())
    assert refusal(blocks, raw) == AncientBirthBlock()
    assert isinstance(refusal_in_build(blocks, raw), AncientBirthBlock)
    assert_refused(blocks, raw, "era")


# ----------------------------------------------------------------------------- fees and limits


def test_who_cannot_pay_is_refused(blocks: Blocks) -> None:
    poor = Keypair.from_uri("//Poor")
    raw = blocks.transfer(poor)
    assert refusal(blocks, raw) == Payment()
    assert isinstance(refusal_in_build(blocks, raw), Payment)
    assert_refused(blocks, raw, "fee")


def test_a_tip_beyond_the_balance_is_refused(blocks: Blocks) -> None:
    raw = blocks.transfer(tip=blocks.free(ALICE) - EXISTENTIAL_DEPOSIT)
    assert refusal(blocks, raw) == Payment()


def test_a_higher_tip_has_a_higher_priority(blocks: Blocks) -> None:
    low, high = (validate(blocks, blocks.transfer(tip=tip)) for tip in (OPEN, 2 * OPEN))
    assert low.priority < high.priority
    assert validate(blocks, blocks.transfer()).priority == 0


def test_an_overlong_transaction_is_refused_before_it_waits_for_ever(blocks: Blocks) -> None:
    size = LENGTH_MAX - len(blocks.remark(0)) - 5
    assert validate(blocks, blocks.remark(size))
    assert blocks.build(blocks.remark(size)).refused == ()
    assert refusal(blocks, blocks.remark(size + 1)) == ExhaustsResources()


def test_an_overweight_transaction_is_refused_before_it_waits_for_ever(
    blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = batch_of_transfers(blocks, 900)
    weight = blocks.machine.weight_of(blocks.decode(raw).call) + EXTRINSIC_BASE_WEIGHT
    percent = EXTRINSIC_PERCENT
    exact = Weight(-(-weight.ref_time * 100 // percent), -(-weight.proof_size * 100 // percent))
    monkeypatch.setattr(executive, "BLOCK_WEIGHT_MAX", exact)
    assert validate(blocks, raw)
    assert blocks.build(raw).refused == ()
    for less in (
        replace(exact, ref_time=exact.ref_time - 2),
        replace(exact, proof_size=exact.proof_size - 2),
    ):
        monkeypatch.setattr(executive, "BLOCK_WEIGHT_MAX", less)
        assert refusal(blocks, raw) == ExhaustsResources()


def batch_of_transfers(blocks: Blocks, count: int) -> bytes:
    dest = Id(AccountId(BOB.account))
    call = blocks.machine.call("Balances", "transfer_keep_alive", dest=dest, value=1)
    return blocks.sign("Utility", "batch", calls=(call,) * count)


def test_a_block_takes_no_more_than_its_length(blocks: Blocks) -> None:
    raws = [blocks.remark(1 << 20, nonce=nonce) for nonce in range(6)]
    built = blocks.build(*raws)
    assert 0 < len(built.extrinsics) - 1 < 6
    assert sum(map(len, built.extrinsics)) <= BLOCK_LENGTH_MAX * NORMAL_PERCENT // 100
    assert {type(refused.reason) for _, refused in built.refused} <= {ExhaustsResources, Future}
    body = (*built.extrinsics, *raws)
    header = with_root(built.header, ordered_root(body))
    with pytest.raises(InvalidBlockError, match="at most"):
        blocks.execute(header, body)


def test_a_block_takes_no_more_than_its_weight(
    blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = [blocks.transfer(nonce=nonce) for nonce in range(8)]
    built = blocks.build(*raws)
    monkeypatch.setattr(executive, "BLOCK_WEIGHT_MAX", Weight(3 * 10**9, 10**9))
    small = blocks.build(*raws)
    assert 1 < len(small.extrinsics) < 9
    with pytest.raises(InvalidBlockError, match="fit"):
        blocks.execute(built.header, built.extrinsics)
    assert blocks.execute(small.header, small.extrinsics).header == small.header


def test_a_block_of_others_is_held_to_the_length_that_authors_may_fill(
    blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = [blocks.remark(1 << 20, nonce=nonce) for nonce in range(4)]
    monkeypatch.setattr(executive, "NORMAL_PERCENT", 100)
    long = blocks.build(*raws)
    assert sum(map(len, long.extrinsics)) < BLOCK_LENGTH_MAX
    assert blocks.execute(long.header, long.extrinsics).header == long.header
    monkeypatch.undo()
    with pytest.raises(InvalidBlockError, match=r"extrinsic 4: .*fit"):
        blocks.execute(long.header, long.extrinsics)


def test_a_block_of_others_is_held_to_the_size_of_one_extrinsic(
    blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = blocks.remark(LENGTH_MAX)
    monkeypatch.setattr(executive, "EXTRINSIC_PERCENT", 100)
    long = blocks.build(raw)
    assert len(long.extrinsics) == 2
    monkeypatch.undo()
    with pytest.raises(InvalidBlockError, match="extrinsic 1"):
        blocks.execute(long.header, long.extrinsics)
    assert blocks.build(raw).refused


def test_inherents_are_held_to_the_blocks_weight(
    blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = blocks.build()
    inherent = blocks.machine.weight_of(blocks.decode(built.extrinsics[0]).call)
    monkeypatch.setattr(executive, "BLOCK_WEIGHT_MAX", inherent)
    assert blocks.execute(built.header, built.extrinsics).header == built.header
    monkeypatch.setattr(
        executive, "BLOCK_WEIGHT_MAX", replace(inherent, ref_time=inherent.ref_time - 1)
    )
    with pytest.raises(InvalidBlockError, match="too heavy"):
        blocks.execute(built.header, built.extrinsics)
    with pytest.raises(InvalidBlockError, match="too heavy"):
        blocks.build()


def test_a_body_of_another_header_is_refused_as_a_body(blocks: Blocks) -> None:
    built = blocks.build(blocks.transfer())
    with pytest.raises(BodyRefusedError, match="extrinsics root"):
        blocks.execute(built.header, built.extrinsics[:1])


def test_a_signature_that_was_checked_on_another_branch_is_checked_again(blocks: Blocks) -> None:
    blocks.add_empty(1)
    era = mortal(64, 1)
    good = blocks.transfer(era=era)
    foreign = replace(blocks.additional(era), birth_hash=Hash(b"x" * 32))
    bad = blocks.transfer(era=era, additional=foreign)
    own = blocks.best.hash
    for raw, birth, is_included in (
        (good, own, True),
        (good, foreign.birth_hash, True),
        (bad, foreign.birth_hash, False),
        (bad, blocks.genesis_hash, False),
        # Whoever vouches for this very branch is believed: that is what saves the time.
        (bad, own, True),
    ):
        extrinsic = blocks.decode(raw)
        verified = {extrinsic.hash: birth}
        inherents = (blocks.timestamp(),)
        built = blocks.executive.build(
            blocks.state, blocks.best, (), inherents, [extrinsic], verified
        )
        assert (raw in built.extrinsics) is is_included
        refused = [type(refusal.reason) for _, refusal in built.refused]
        assert refused == ([] if is_included else [BadProof])
        body = (*inherents, raw)
        header = with_root(built.header, ordered_root(body))
        if is_included:
            executed = blocks.executive.execute(blocks.state, header, body, blocks.best, verified)
            assert executed.header == header
        else:
            with pytest.raises(InvalidBlockError, match="signature"):
                blocks.executive.execute(blocks.state, header, body, blocks.best, verified)


def test_a_block_takes_no_more_than_its_number_of_extrinsics(
    blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = [blocks.transfer(nonce=nonce) for nonce in range(3)]
    built = blocks.build(*raws)
    monkeypatch.setattr(executive, "BLOCK_EXTRINSICS_MAX", 2)
    assert len(blocks.build(*raws).extrinsics) == 2
    with pytest.raises(InvalidBlockError, match="at most 2 extrinsics"):
        blocks.execute(built.header, built.extrinsics)


def test_a_dry_run_tells_the_outcome_and_changes_nothing(blocks: Blocks) -> None:
    before = dict(blocks.state.values)
    extrinsic = blocks.decode(blocks.transfer())
    applied, records, _ = blocks.executive.dry_run(blocks.state, blocks.best, extrinsic)
    assert applied.error is None
    assert {type(record.event).__name__ for record in records} >= {"Transfer", "ExtrinsicSuccess"}
    failing = blocks.decode(blocks.transfer(value=10**30))
    assert blocks.executive.dry_run(blocks.state, blocks.best, failing)[0].error is not None
    assert blocks.state.values == before


def test_the_genesis_hash_is_remembered_for_ever(blocks: Blocks) -> None:
    system: Any = blocks.machine.pallets["System"]
    number = system.block_hash_count + 10
    overlay = Overlay(blocks.state)
    with blocks.machine.on(overlay):
        system.initialize(1, blocks.genesis_hash, Digest(()))
        for height in range(2, number):
            system.initialize(height, Hash(height.to_bytes(32, "big")), Digest(()))
        assert system.hash_of(0) == blocks.genesis_hash
        assert system.hash_of(1) is None
        assert system.hash_of(number - 2) is not None


def test_the_metadata_hash_extension_is_refused(blocks: Blocks) -> None:
    call = blocks.machine.call("System", "remark", remark=b"")
    extra = Extra(IMMORTAL, 0, 0, MetadataHashMode.Enabled)
    additional = Additional(1, 1, blocks.genesis_hash, blocks.genesis_hash, ZERO_HASH)
    raw = blocks.machine.extrinsics.sign(call, ALICE, extra, additional)
    assert refusal(blocks, raw) == CannotLookupSigner()
