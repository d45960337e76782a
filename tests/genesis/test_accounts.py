"""Accounts as texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis.accounts import NAMES, AccountTextError, parse_account
from runtime.crypto import ss58
from runtime.crypto.keys import KeyKind, Keypair

ED25519_ALICE = "5FA9nQDVg267DEd8m1ZypXLBnvN7SFxYwV7ndqSYGiN9TTpu"
SR25519_ALICE = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"


def test_development_accounts_are_the_well_known_ones() -> None:
    assert ss58.encode(parse_account("//Alice")) == ED25519_ALICE
    assert ss58.encode(parse_account("ed25519://Alice")) == ED25519_ALICE
    assert ss58.encode(parse_account("sr25519://Alice")) == SR25519_ALICE
    assert (
        len({parse_account(f"{kind}//{name}") for name in NAMES for kind in ("", "sr25519:")}) == 12
    )


def test_an_account_is_an_address_or_hex_too() -> None:
    account = Keypair.from_uri("//Bob", KeyKind.SR25519).account
    assert parse_account(ss58.encode(account)) == account
    assert parse_account("0x" + account.hex()) == account


@pytest.mark.parametrize(
    "text", ["", "Alice", "0x12", "0xzz", "0x" + "00" * 33, ED25519_ALICE[:-1], "//", "sr25519:x"]
)
def test_other_texts_are_refused_with_a_hint(text: str) -> None:
    with pytest.raises(AccountTextError):
        parse_account(text)


@given(st.text(max_size=50))
def test_any_text_is_an_account_or_refused(text: str) -> None:
    try:
        assert len(parse_account(text)) == 32
    except AccountTextError:
        return
