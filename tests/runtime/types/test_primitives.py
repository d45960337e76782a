"""Headers, addresses and accounts in the bytes that clients know."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtime.codec.scale import CompactU128, DecodeError, codec, u128
from runtime.crypto.hashing import blake2b_256
from runtime.types.primitives import (
    ZERO_HASH,
    AccountData,
    AccountId,
    AccountInfo,
    Address20,
    Balance,
    CompactBalance,
    Consensus,
    Digest,
    DigestItem,
    Hash,
    Header,
    Id,
    MultiAddress,
    MultiSignature,
    Other,
    PreRuntime,
    RuntimeEnvironmentUpdated,
    RuntimeVersion,
    Seal,
    Sr25519,
    Weight,
    is_balance,
)

HEADER = codec(Header)
hashes = st.binary(min_size=32, max_size=32).map(Hash)
engines = st.binary(min_size=4, max_size=4)
items = st.one_of(
    st.builds(PreRuntime, engines, st.binary(max_size=9)),
    st.builds(Consensus, engines, st.binary(max_size=9)),
    st.builds(Seal, engines, st.binary(max_size=9)),
    st.builds(Other, st.binary(max_size=9)),
    st.just(RuntimeEnvironmentUpdated()),
)
headers = st.builds(
    Header,
    hashes,
    st.integers(0, 2**32 - 1),
    hashes,
    hashes,
    st.builds(Digest, st.lists(items, max_size=3).map(tuple)),
)


def test_a_header_is_parent_number_roots_and_digest() -> None:
    logs = (PreRuntime(b"BABE", b"\1"), Seal(b"BABE", b"\2\3"))
    header = Header(Hash(b"p" * 32), 1, Hash(b"s" * 32), Hash(b"x" * 32), Digest(logs))
    raw = b"p" * 32 + b"\4" + b"s" * 32 + b"x" * 32
    raw += bytes.fromhex("08" + "06" + b"BABE".hex() + "0401" + "05" + b"BABE".hex() + "080203")
    assert HEADER.encode(header) == raw
    assert header.hash == blake2b_256(raw)


@given(headers)
def test_a_header_reads_back(header: Header) -> None:
    assert HEADER.decode(HEADER.encode(header)) == header


@given(st.binary(max_size=120))
def test_garbage_is_no_header(garbage: bytes) -> None:
    try:
        header = HEADER.decode(garbage)
    except DecodeError:
        return
    assert HEADER.encode(header) == garbage


def test_digest_items_have_the_indices_of_substrate() -> None:
    indices = {cls.__name__: index for index, cls in DigestItem._variants.items()}  # type: ignore[attr-defined]
    assert indices == {
        "Other": 0,
        "Consensus": 4,
        "Seal": 5,
        "PreRuntime": 6,
        "RuntimeEnvironmentUpdated": 8,
    }


def test_account_info_has_the_shape_of_substrate() -> None:
    info = AccountInfo(1, 2, 3, 4, AccountData(5, 6, 7))
    raw = b"".join(n.to_bytes(4, "little") for n in (1, 2, 3, 4))
    raw += b"".join(n.to_bytes(16, "little") for n in (5, 6, 7, 1 << 127))
    assert codec(AccountInfo).encode(info) == raw


def test_addresses_and_signatures_begin_with_their_kind() -> None:
    assert codec(MultiAddress).encode(Id(AccountId(ZERO_HASH))) == bytes(33)
    assert codec(MultiAddress).encode(Address20(bytes(20)))[0] == 4
    assert codec(MultiSignature).encode(Sr25519(bytes(64)))[0] == 1


def test_weights_add_and_multiply() -> None:
    assert Weight(1, 2) + Weight(3, 4) * 2 == Weight(7, 10)


def test_a_runtime_version_keeps_its_encoding() -> None:
    version = RuntimeVersion("name", "impl", 1, 2, 3, ((bytes(8), 4),), 5, 1)
    raw = codec(RuntimeVersion).encode(version)
    assert raw.hex() == (
        "106e616d65" + "10696d706c" + "010000000200000003000000" + "04" + "00" * 8 + "04000000"
        "05000000" + "01"
    )


@given(st.integers(0, 2**128 - 1))
def test_an_amount_has_the_bytes_of_a_plain_number(planck: int) -> None:
    assert codec(Balance).encode(planck) == codec(u128).encode(planck)
    assert codec(CompactBalance).encode(planck) == codec(CompactU128).encode(planck)


def test_only_amounts_are_balances() -> None:
    assert is_balance(Balance)
    assert is_balance(CompactBalance)
    assert not any(is_balance(hint) for hint in (u128, CompactU128, AccountId, Balance | None))
