import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.crypto import ss58
from runtime.crypto.ss58 import AddressError
from tests.conftest import VECTORS

ADDRESSES = VECTORS / "ss58.json"
PREFIXES = st.integers(0, 16_383).filter(lambda prefix: prefix not in (46, 47))


def test_addresses_are_those_of_polkadot_js() -> None:
    for case in json.loads(ADDRESSES.read_text())["cases"]:
        account = bytes.fromhex(case["account"])
        assert ss58.encode(account, case["prefix"]) == case["address"]
        assert ss58.decode(case["address"], case["prefix"]) == account


@given(st.binary(min_size=32, max_size=32), PREFIXES)
def test_an_address_decodes_to_its_account(account: bytes, prefix: int) -> None:
    text = ss58.encode(account, prefix)
    assert ss58.decode(text) == account
    assert ss58.decode(text, prefix) == account


@given(st.text(max_size=80) | st.text("123456789ABCabcxyz", min_size=46, max_size=50))
def test_a_text_decodes_or_is_refused_with_an_address_error(text: str) -> None:
    try:
        account = ss58.decode(text)
    except AddressError:
        return
    assert len(account) == 32


@given(st.binary(min_size=32, max_size=32), st.integers(0, 47), st.sampled_from("23xyZ"))
def test_a_mistyped_letter_is_noticed(account: bytes, place: int, letter: str) -> None:
    text = ss58.encode(account)
    place %= len(text)
    changed = text[:place] + letter + text[place + 1 :]
    if changed != text:
        with pytest.raises(AddressError):
            ss58.decode(changed)


def test_an_address_of_another_network_is_refused() -> None:
    with pytest.raises(AddressError, match="network prefix 0, this chain uses 42"):
        ss58.decode(ss58.encode(bytes(32), 0), 42)


@pytest.mark.parametrize("prefix", [-1, 46, 47, 16_384])
def test_a_prefix_outside_the_format_is_refused(prefix: int) -> None:
    with pytest.raises(AddressError, match="not an SS58 network prefix"):
        ss58.encode(bytes(32), prefix)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_only_accounts_of_32_bytes_have_an_address(size: int) -> None:
    with pytest.raises(AddressError, match="32 bytes"):
        ss58.encode(bytes(size))
