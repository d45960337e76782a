"""A signature scheme that costs a microsecond, for simulations that sign a million votes.

A key signs by a keyed hash that any node could compute: within a simulation none does, except for
the keys that are its own. Engine, evidence and light client check it where they check ed25519.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from unittest.mock import patch

from runtime.shared.finality import Ballot, Vote, payload
from runtime.types.primitives import Hash


@lru_cache(maxsize=64)
def key_of(identity: int) -> bytes:
    """Return the session key of a validator."""
    return blake2b(b"validator %d" % identity, digest_size=32).digest()


def sign(genesis: Hash, identity: int, voter: int, ballot: Ballot) -> Vote:
    """Return a validator's vote, `voter` being its index in the epoch's set."""
    return Vote(ballot, voter, _signature(key_of(identity), payload(genesis, ballot)))


def verify(_kind: int, signature: bytes, message: bytes, account: bytes) -> bool:
    """Return whether a signature is real; stands in for `runtime.crypto.keys.verify`."""
    return signature == _signature(account, message)


@contextmanager
def cheap_signatures() -> Iterator[None]:
    """Let votes, certificates and evidence be checked by this scheme."""
    with (
        patch("consensus.signatures.verify", verify),
        patch("runtime.shared.finality.verify", verify),
    ):
        yield


def _signature(key: bytes, message: bytes) -> bytes:
    return blake2b(message, digest_size=64, key=key).digest()
