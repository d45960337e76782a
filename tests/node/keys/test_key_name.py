"""Names of keys: nothing that a command reads as an account, a path or nothing at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.keys.key_name import NAME_LENGTH_MAX, KeyNameError, check_name
from node.keys.keystore import LIGHT_COST, Keystore
from runtime.crypto import ss58
from runtime.crypto.keys import Keypair

ALICE = Keypair.from_uri("//Alice")


@pytest.mark.parametrize("name", ["mine", "my key", "Schlüssel", "a/b", "x" * NAME_LENGTH_MAX])
def test_a_plain_name_is_taken(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "not empty"),
        ("  ", "not empty"),
        (" mine", "begins or ends with a space"),
        ("mi\nne", "cannot be printed"),
        ("x" * (NAME_LENGTH_MAX + 1), "at most"),
        ("//Alice", "derivation path"),
        ("sr25519://Alice", "derivation path"),
        ("0x" + "ab" * 32, "public key"),
        (ss58.encode(ALICE.account), "an address"),
    ],
)
def test_a_name_that_would_be_taken_for_something_else_is_refused(name: str, reason: str) -> None:
    with pytest.raises(KeyNameError, match=reason):
        check_name(name)


def test_the_keystore_stores_no_key_under_such_a_name(tmp_path: Path) -> None:
    store = Keystore(tmp_path)
    with pytest.raises(KeyNameError):
        store.add(ALICE, "password", "//Bob", LIGHT_COST)
    assert store.entries() == []
