"""The executive: building and executing blocks, and which damaged ones are refused."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.codec.scale import DecodeError, codec
from runtime.frame.dispatch import ModuleError, Token
from runtime.frame.executive import BodyRefusedError, InvalidBlockError
from runtime.frame.fees import (
    BASE_FEE,
    BYTE_FEE,
)
from runtime.frame.state import Overlay
from runtime.trie.trie import ordered_root
from runtime.types.primitives import (
    OPEN,
    AccountId,
    Digest,
    Hash,
    Header,
    Id,
    Other,
    PreRuntime,
)
from tests.conftest import REPOSITORY
from tests.runtime.support.blocks import ALICE, BOB, EVE, Blocks, with_root
from tests.runtime.support.refusals import (
    assert_refused,
    fee_of,
)

HEADER = codec(Header)


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


def test_a_body_of_another_header_is_refused_as_a_body(blocks: Blocks) -> None:
    built = blocks.build(blocks.transfer())
    with pytest.raises(BodyRefusedError, match="extrinsics root"):
        blocks.execute(built.header, built.extrinsics[:1])


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
