"""Signed extrinsics: nonce, signature, address and era, on the pool's path and in blocks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.codec.scale import encode_compact
from runtime.crypto.keys import KeyKind, Keypair
from runtime.frame.executive import InvalidBlockError
from runtime.frame.extrinsic import Additional, Extra, MetadataHashMode
from runtime.frame.validity import (
    AncientBirthBlock,
    BadProof,
    BadSigner,
    CannotLookupSigner,
    Future,
    Stale,
)
from runtime.trie.trie import ordered_root
from runtime.types.era import IMMORTAL, mortal
from runtime.types.primitives import (
    ZERO_HASH,
    Address32,
    Hash,
)
from tests.runtime.support.blocks import ALICE, EVE, Blocks, with_root
from tests.runtime.support.refusals import (
    assert_refused,
    refusal,
    refusal_in_build,
    validate,
)


def test_a_nonce_is_used_once_and_in_order(blocks: Blocks) -> None:
    first = blocks.transfer()
    assert isinstance(refusal_in_build(blocks, blocks.transfer(nonce=1)), Future)
    blocks.add(first)
    assert refusal(blocks, first) == Stale()
    assert isinstance(refusal_in_build(blocks, first), Stale)
    assert_refused(blocks, first, "too low")
    assert_refused(blocks, blocks.transfer(nonce=2), "too high")


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
        "spec version": replace(right, spec_version=right.spec_version + 1),
        "transaction version": replace(right, transaction_version=right.transaction_version + 1),
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


def test_the_metadata_hash_extension_is_refused(blocks: Blocks) -> None:
    call = blocks.machine.call("System", "remark", remark=b"")
    extra = Extra(IMMORTAL, 0, 0, MetadataHashMode.Enabled)
    additional = Additional(1, 1, blocks.genesis_hash, blocks.genesis_hash, ZERO_HASH)
    raw = blocks.machine.extrinsics.sign(call, ALICE, extra, additional)
    assert refusal(blocks, raw) == CannotLookupSigner()
