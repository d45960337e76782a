"""Checks of transactions on top of the best block: nonce, signature, and what is remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.chain import transaction_checks
from runtime.frame.extrinsic import Additional, Envelope
from runtime.frame.validity import BadProof, Stale, TransactionRefused
from runtime.types.primitives import AccountId, Hash
from tests.node.support.small_node import ALICE, run, small_node


def test_what_is_remembered_of_the_best_block_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction_checks, "NEXT_STATE_VALUES_MAX", 20)

    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            for number in range(50):
                assert node.chain.nonce(AccountId(bytes((number,)) * 32)) == 0
                assert node.chain._checks._next is not None
                assert node.chain._checks._next.size <= 21

    run(scenario)


def test_transactions_are_validated_on_the_block_that_is_best_now(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            chain, raw = node.chain, node.sign()
            (extrinsic,) = node.decode(raw)
            assert chain.check(extrinsic) == chain.check(extrinsic)
            left = node.fork(chain.genesis_hash, b"left", raw)
            chain.extend(left)
            with pytest.raises(TransactionRefused):
                chain.check(extrinsic)
            for executed in node.grow(chain.genesis_hash, [b"right", b"longer"]):
                assert not executed.refused
            assert chain.check(extrinsic).validity.longevity == 2**64 - 1
            await chain.finalize(left.hash)
            assert chain.nonce(AccountId(ALICE.account)) == 1

    run(scenario)


def test_a_nonce_too_low_is_stale_and_one_in_the_future_is_valid(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            used, ahead = node.sign(nonce=0), node.sign(nonce=7)
            node.chain.extend(node.fork(node.chain.genesis_hash, b"uses nonce 0", used))
            (late,) = node.decode(node.sign(nonce=0, value=9))
            with pytest.raises(TransactionRefused) as refusal:
                node.chain.check(late)
            assert isinstance(refusal.value.reason, Stale)
            (early,) = node.decode(ahead)
            assert node.chain.check(early).nonce == 1

    run(scenario)


def test_a_signature_checked_in_a_thread_is_not_checked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Hash] = []
    original = Envelope.is_verified

    def note(self: Envelope, additional: Additional) -> bool:
        checked.append(self.hash)
        return original(self, additional)

    monkeypatch.setattr(Envelope, "is_verified", note)

    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            good, altered = node.sign(nonce=0), bytearray(node.sign(nonce=1))
            altered[-1] ^= 1
            codec = node.chain.machine.extrinsics
            envelopes = [codec.decode_envelope(raw) for raw in (good, bytes(altered))]
            for _ in range(2):
                first, second = await node.chain.open(envelopes, lambda: 0.0)
                assert first.found == codec.decode(good)
                assert isinstance(second.found, TransactionRefused)
                assert isinstance(second.found.reason, BadProof)
            assert checked == [envelopes[0].hash, envelopes[1].hash, envelopes[1].hash]

    run(scenario)
