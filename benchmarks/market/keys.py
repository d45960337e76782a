"""The keys of the simulated parties: one for each name, and signatures that are made only once.

Parties have the same keys under every seed, so that a voucher which two strategies of one seed have
in common is signed and verified once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from runtime.crypto.hashing import blake2b_256
from runtime.crypto.keys import Keypair
from runtime.types.primitives import AccountId

SIGNATURES_MAX: Final = 1 << 14


@lru_cache(maxsize=256)
def pair(name: str) -> Keypair:
    """Return the ed25519 key of a party."""
    return Keypair.from_seed(blake2b_256(b"market/" + name.encode()))


def account(name: str) -> AccountId:
    """Return the account of a party."""
    return AccountId(pair(name).account)


@lru_cache(maxsize=SIGNATURES_MAX)
def signature(name: str, message: bytes) -> bytes:
    """Return the signature of a party over a message."""
    return pair(name).sign(message)
