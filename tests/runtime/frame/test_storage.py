"""Storage items: keys as Substrate derives them, defaults, iteration in the order of hashes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.codec.scale import EncodeError, codec, u16, u32
from runtime.crypto import ss58
from runtime.crypto.hashing import blake2b_128, twox_64, twox_128
from runtime.frame.state import Overlay
from runtime.frame.storage import (
    KEY_CACHE_MAX,
    DefaultMap,
    Hasher,
    Item,
    Map,
    OptionalValue,
    Stored,
    Value,
    default,
    item_spec,
    stored,
)
from runtime.trie.backend import MemoryBackend
from runtime.types.primitives import AccountId, Hash
from tests.runtime.support.blocks import machine

SR25519_ALICE = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
SYSTEM_ACCOUNT = "26aa394eea5630e07c48ae0c9558cef7b99d880ec681799c0cf30e8886371da9"
ALICE_KEY = (
    SYSTEM_ACCOUNT
    + "de1e86a9a8c739864cf3cc5ec2bea59f"
    + "d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d"
)
KNOWN_PREFIXES = {
    ("System", "number"): "26aa394eea5630e07c48ae0c9558cef702a5c1b19ab7a04f536c519aca4983ac",
    ("System", "events"): "26aa394eea5630e07c48ae0c9558cef780d41e5e16056765bc8461851072c9d7",
    ("System", "block_hash"): "26aa394eea5630e07c48ae0c9558cef7a44704b568d21667356a5a050c118746",
    ("System", "digest"): "26aa394eea5630e07c48ae0c9558cef799e7f93fc6a98f0874fd057f111c4d2d",
    ("Timestamp", "now"): "f0c365c3cf59d671eb72da0e7a4113c49f1f0515f462cdcf84e0f1d6045dfcbb",
    ("Balances", "total_issuance"): (
        "c2261276cc9d1f8598ea4b6a74b15c2f57c875e4cff74148e4628f264b974c80"
    ),
}


class Holder:
    """Holds an overlay, as a machine does."""

    def __init__(self) -> None:
        self.overlay = Overlay(MemoryBackend())

    def seal(self) -> None:
        """Go on in the next block."""
        changes = self.overlay.changes()
        values = {key: value for key, value in changes.items() if value is not None}
        self.overlay = Overlay(MemoryBackend(values))


@pytest.fixture
def holder() -> Holder:
    return Holder()


def bind(holder: Holder, hint: Any, declared: Stored | None = None) -> Any:
    spec = item_spec("Pallet", "some_item", hint, declared)
    assert spec is not None
    kind: type[Item] = spec.kind
    return kind(spec, holder, codec)


def test_the_key_of_alices_account_is_the_one_that_clients_know() -> None:
    system: Any = machine().pallets["System"]
    assert system.account.key(AccountId(ss58.decode(SR25519_ALICE))).hex() == ALICE_KEY
    assert system.account.prefix.hex() == SYSTEM_ACCOUNT


@pytest.mark.parametrize(("pallet", "item"), KNOWN_PREFIXES)
def test_prefixes_are_those_of_substrate(pallet: str, item: str) -> None:
    bound: Item = getattr(machine().pallets[pallet], item)
    assert bound.prefix.hex() == KNOWN_PREFIXES[pallet, item]


def test_a_map_of_twox_64_concat_has_the_keys_of_substrate() -> None:
    system: Any = machine().pallets["System"]
    number = (7).to_bytes(4, "little")
    assert system.block_hash.key(7) == system.block_hash.prefix + twox_64(number) + number


def test_a_name_of_several_words_is_written_in_camel_case(holder: Holder) -> None:
    value = bind(holder, Value[u32], default(0))
    assert value.prefix == twox_128(b"Pallet") + twox_128(b"SomeItem")


def test_a_value_reads_as_its_default_while_absent(holder: Holder) -> None:
    value = bind(holder, Value[u32], default(5))
    assert value.get() == 5
    value.put(0)
    assert value.get() == 0
    value.clear()
    assert value.get() == 5
    optional = bind(holder, OptionalValue[u32])
    optional.put(0)
    assert optional.get() == 0
    optional.clear()
    assert optional.get() is None


def test_a_map_knows_which_keys_it_holds(holder: Holder) -> None:
    plain, counted = bind(holder, Map[u32, u16]), bind(holder, DefaultMap[u32, u16], default(3))
    assert plain.get(1) is None
    assert counted.get(1) == 3
    assert 1 not in counted
    plain.put(1, 9)
    assert 1 in plain
    plain.remove(1)
    assert 1 not in plain


@given(
    st.dictionaries(st.integers(0, 2**32 - 1), st.integers(0, 99), max_size=20),
    st.dictionaries(st.integers(0, 2**32 - 1), st.integers(0, 99), max_size=20),
)
def test_a_map_iterates_in_the_order_of_hashed_keys(
    old: dict[int, int], new: dict[int, int]
) -> None:
    holder = Holder()
    entries = bind(holder, Map[u32, u32])
    for key, value in old.items():
        entries.put(key, value)
    holder.seal()
    for key, value in new.items():
        entries.put(key, value)
    merged = {**old, **new}
    listed = list(entries.items())
    assert dict(listed) == merged
    hashed = [blake2b_128(codec(u32).encode(key)) for key, _ in listed]
    assert hashed == sorted(hashed)
    assert list(entries.keys()) == [key for key, _ in listed]


def test_leading_keys_select_a_part_of_a_map(holder: Holder) -> None:
    entries = bind(holder, Map[tuple[u32, Hash], u32])
    for first in range(4):
        for second in range(3):
            entries.put((first, Hash(bytes((second,)) * 32)), 10 * first + second)
    assert sorted(value for _, value in entries.items(2)) == [20, 21, 22]
    assert {key[0] for key in entries.keys(3)} == {3}
    assert list(entries.items(9)) == []


@pytest.mark.parametrize(
    "hasher", [Hasher.BLAKE2_128_CONCAT, Hasher.TWOX_64_CONCAT, Hasher.IDENTITY]
)
def test_keys_are_read_back_from_hashers_that_keep_them(holder: Holder, hasher: Hasher) -> None:
    entries = bind(holder, Map[bytes, u32], stored(hasher))
    for key in (b"", b"a", b"a" * 70):
        entries.put(key, len(key))
    assert sorted(entries.keys()) == [b"", b"a", b"a" * 70]


def test_items_do_not_see_each_others_entries(holder: Holder) -> None:
    system: Callable[[str], Any] = lambda name: bind_named(holder, name)
    system("first").put(1, 1)
    system("first_of_all").put(1, 2)
    assert list(system("first").items()) == [(1, 1)]


def bind_named(holder: Holder, name: str) -> Any:
    spec = item_spec("Pallet", name, Map[u32, u32], None)
    assert spec is not None
    kind: type[Item] = spec.kind
    return kind(spec, holder, codec)


def test_a_key_that_does_not_fit_is_refused(holder: Holder) -> None:
    with pytest.raises(EncodeError):
        bind(holder, Map[u32, u32]).put(1 << 32, 1)


def test_the_cache_of_keys_is_bounded(holder: Holder) -> None:
    entries = bind(holder, Map[u32, u32])
    entries._cache = dict.fromkeys(range(1, KEY_CACHE_MAX + 1), b"")
    assert entries.key(0)
    assert len(entries._cache) == 1


def test_other_annotations_are_no_storage() -> None:
    assert item_spec("Pallet", "other", int, None) is None
