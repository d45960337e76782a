import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pallets.balances import Balances
from pallets.system import System
from pallets.timestamp import Timestamp
from pallets.transaction_payment import TransactionPayment
from runtime.codec.scale import DecodeError, encode, encode_compact
from runtime.crypto.keys import KeyKind, Keypair
from runtime.frame.extrinsic import EXTRINSIC_SIZE_MAX, Additional, Extra, MetadataHashMode
from runtime.frame.machine import Machine
from runtime.types.era import ERA_CODEC, IMMORTAL, mortal
from runtime.types.primitives import (
    AccountId,
    Address20,
    Address32,
    Ecdsa,
    Hash,
    Id,
    MultiAddress,
    MultiSignature,
    RuntimeVersion,
)
from tests.conftest import VECTORS

VECTORS = json.loads((VECTORS / "extrinsics.json").read_text())
MACHINE = Machine(
    (System, Timestamp, Balances, TransactionPayment),
    RuntimeVersion("test", "test", 1, 1, 1, (), 1, 1),
)
EXTRINSICS = MACHINE.extrinsics
ALICE = Keypair.from_uri("//Alice")
BOB = AccountId(bytes.fromhex(VECTORS["dest"]))
GENESIS = Hash(bytes.fromhex(VECTORS["genesis"][2:]))
TRANSFER = MACHINE.call("Balances", "transfer_keep_alive", dest=Id(BOB), value=12345)

each_vector = pytest.mark.parametrize("vector", VECTORS["extrinsics"], ids=lambda v: v["name"])


def raw_of(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def additional(vector: dict[str, Any]) -> Additional:
    return Additional(1, 1, GENESIS, Hash(raw_of(vector["birth"])))


def prefixed(body: bytes) -> bytes:
    return encode_compact(len(body)) + body


@each_vector
def test_an_extrinsic_of_polkadot_js_decodes_and_verifies(vector: dict[str, Any]) -> None:
    extrinsic = EXTRINSICS.decode(raw_of(vector["raw"]))
    assert extrinsic.signed is not None
    assert extrinsic.signed.account == ALICE.account
    assert extrinsic.signed.extra.nonce == vector["nonce"]
    assert extrinsic.signed.extra.tip == int(vector["tip"])
    assert ERA_CODEC.encode(extrinsic.signed.extra.era) == raw_of(vector["era"])
    assert extrinsic.call_bytes == raw_of(vector["call"])
    assert extrinsic.hash == raw_of(vector["hash"])
    assert extrinsic.is_verified(additional(vector))


@each_vector
def test_signing_gives_the_bytes_of_polkadot_js(vector: dict[str, Any]) -> None:
    extrinsic = EXTRINSICS.decode(raw_of(vector["raw"]))
    assert extrinsic.signed is not None
    made = EXTRINSICS.sign(extrinsic.call, ALICE, extrinsic.signed.extra, additional(vector))
    assert made == raw_of(vector["raw"])


@each_vector
def test_a_signature_covers_what_is_not_sent(vector: dict[str, Any]) -> None:
    extrinsic, birth = EXTRINSICS.decode(raw_of(vector["raw"])), Hash(raw_of(vector["birth"]))
    other = Hash(b"o" * 32)
    for wrong in (
        Additional(2, 1, GENESIS, birth),
        Additional(1, 2, GENESIS, birth),
        Additional(1, 1, other, birth),
        Additional(1, 1, GENESIS, other),
        Additional(1, 1, GENESIS, birth, other),
    ):
        assert not extrinsic.is_verified(wrong)


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_changed_byte_never_verifies(position: int, change: int) -> None:
    vector = VECTORS["extrinsics"][0]
    raw = bytearray(raw_of(vector["raw"]))
    raw[position % len(raw)] ^= change
    try:
        extrinsic = EXTRINSICS.decode(bytes(raw))
    except DecodeError:
        return
    assert extrinsic.signed is None or not extrinsic.is_verified(additional(vector))


def test_an_inherent_has_its_known_bytes() -> None:
    raw = raw_of(VECTORS["inherent"]["raw"])
    call = MACHINE.call("Timestamp", "set", now=VECTORS["inherent"]["now"])
    assert EXTRINSICS.inherent(call) == raw
    extrinsic = EXTRINSICS.decode(raw)
    assert extrinsic.signed is None
    assert extrinsic.call == call


def test_sr25519_signs_and_verifies_too() -> None:
    pair = Keypair.from_uri("//Alice", KeyKind.SR25519)
    vector = VECTORS["extrinsics"][1]
    extra = Extra(mortal(64, 1000), 3, 10**30)
    extrinsic = EXTRINSICS.decode(EXTRINSICS.sign(TRANSFER, pair, extra, additional(vector)))
    assert extrinsic.signed is not None
    assert extrinsic.signed.extra == extra
    assert extrinsic.call == TRANSFER
    assert extrinsic.is_verified(additional(vector))


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_garbage_is_refused_with_a_decode_error_alone(garbage: bytes) -> None:
    for raw in (garbage, prefixed(garbage), prefixed(b"\x84" + garbage), prefixed(b"\4" + garbage)):
        try:
            extrinsic = EXTRINSICS.decode(raw)
        except DecodeError:
            continue
        assert extrinsic.raw == raw


@given(st.data())
@settings(max_examples=150)
def test_a_damaged_extrinsic_is_refused_or_keeps_its_bytes(data: st.DataObject) -> None:
    vector = data.draw(st.sampled_from(VECTORS["extrinsics"]))
    raw = bytearray(raw_of(vector["raw"]))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    del raw[data.draw(st.integers(0, len(raw))) :]
    try:
        decoded = EXTRINSICS.decode(bytes(raw))
    except DecodeError:
        return
    assert decoded.raw == raw


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty"),
        (b"\0", "empty"),
        (prefixed(b"\x84"), "ends early"),
        (prefixed(b"\5\2\0\4"), "version 0x05"),
        (prefixed(b"\x85\0"), "version 0x85"),
        (prefixed(b"\4\2\0\4") + b"\0", "length prefix"),
        (prefixed(b"\4\2\0\4\0"), "follow"),
        (prefixed(b"\4\xff\0"), "no pallet"),
        (b"\2\0\0\0\4", "shortest form"),
        (bytes(EXTRINSIC_SIZE_MAX + 1), "at most"),
    ],
)
def test_a_malformed_extrinsic_is_refused_with_its_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        EXTRINSICS.decode(raw)


def resign(**changes: Any) -> bytes:
    """Replace the address or signature of a signed extrinsic, length prefix included."""
    original = EXTRINSICS.decode(raw_of(VECTORS["extrinsics"][0]["raw"]))
    assert original.signed is not None
    address = changes.get("address", original.signed.address)
    signature = changes.get("signature", original.signed.signature)
    return prefixed(
        b"\x84"
        + encode(MultiAddress, address)
        + encode(MultiSignature, signature)
        + original.extra_bytes
        + original.call_bytes
    )


def test_the_kind_of_the_signers_address_cannot_be_changed_by_others() -> None:
    """The signature does not cover the address: a second form of it would be a second hash."""
    extrinsic = EXTRINSICS.decode(resign(address=Address32(ALICE.account)))
    assert not extrinsic.is_verified(additional(VECTORS["extrinsics"][0]))


def test_an_address_that_does_not_resolve_never_verifies() -> None:
    extrinsic = EXTRINSICS.decode(resign(address=Address20(bytes(20))))
    assert extrinsic.signed is not None
    assert extrinsic.signed.account is None
    assert not extrinsic.is_verified(additional(VECTORS["extrinsics"][0]))


def test_ecdsa_is_read_and_never_verifies() -> None:
    extrinsic = EXTRINSICS.decode(resign(signature=Ecdsa(bytes(65))))
    assert not extrinsic.is_verified(additional(VECTORS["extrinsics"][0]))


def test_a_metadata_hash_is_read_as_such() -> None:
    extra = Extra(IMMORTAL, 0, 0, MetadataHashMode.Enabled)
    raw = EXTRINSICS.sign(
        TRANSFER, ALICE, extra, Additional(1, 1, GENESIS, GENESIS, Hash(b"m" * 32))
    )
    signed = EXTRINSICS.decode(raw).signed
    assert signed is not None
    assert signed.extra.mode is MetadataHashMode.Enabled
