"""A signature is an account's over a payload, or it is not; whatever the key."""

from __future__ import annotations

import pytest

from runtime.crypto.keys import KeyKind, Keypair
from runtime.types.primitives import AccountId, Ecdsa, Ed25519, Sr25519
from runtime.types.signature import is_signed_by

PAYLOAD = b"a payload"


@pytest.mark.parametrize("kind", KeyKind)
def test_a_payload_is_signed_by_its_account_alone(kind: KeyKind) -> None:
    alice, bob = (Keypair.from_uri(uri, kind) for uri in ("//Alice", "//Bob"))
    wrap = Ed25519 if kind is KeyKind.ED25519 else Sr25519
    signature = wrap(alice.sign(PAYLOAD))
    assert is_signed_by(AccountId(alice.account), PAYLOAD, signature)
    assert not is_signed_by(AccountId(bob.account), PAYLOAD, signature)
    assert not is_signed_by(AccountId(alice.account), PAYLOAD + b"\0", signature)
    assert not is_signed_by(AccountId(alice.account), PAYLOAD, Ecdsa(bytes(65)))


def test_a_signature_of_one_kind_is_none_of_the_other() -> None:
    pair = Keypair.from_uri("//Alice", KeyKind.ED25519)
    signature = pair.sign(PAYLOAD)
    assert is_signed_by(AccountId(pair.account), PAYLOAD, Ed25519(signature))
    assert not is_signed_by(AccountId(pair.account), PAYLOAD, Sr25519(signature))
