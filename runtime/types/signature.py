"""One rule for whether a MultiSignature is an account's, for extrinsics, vouchers and feedback."""

from __future__ import annotations

from runtime.crypto.keys import KeyKind, verify
from runtime.types.primitives import AccountId, Ed25519, MultiSignature, Sr25519


def is_signed_by(account: AccountId, payload: bytes, signature: MultiSignature) -> bool:
    """Return whether a signature over a payload is the account's; Ecdsa never is."""
    if isinstance(signature, Ed25519):
        return verify(KeyKind.ED25519, signature.signature, payload, account)
    if isinstance(signature, Sr25519):
        return verify(KeyKind.SR25519, signature.signature, payload, account)
    return False
