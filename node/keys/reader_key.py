"""The reader key: texts that this node's executor is drawn to read are encrypted for it.

The secret is a seed in a file of the chain's data that only the owner may read; it is made at first
use and signs nothing. The public key is on chain, in the record of the executor.
"""

from __future__ import annotations

import os
from pathlib import Path

from nacl.public import PrivateKey

from ml.durable_file import write_durably
from node.operations.config import ConfigError
from node.operations.data_folder import READER_KEY_FILE
from runtime.types.primitives import Hash


def load_reader_key(folder: Path) -> PrivateKey:
    """Return the X25519 key of a chain's data folder, made at first use. Raises ConfigError."""
    path = folder / READER_KEY_FILE
    if not path.exists():
        write_durably(path, os.urandom(PrivateKey.SIZE), 0o600)
    secret = path.read_bytes()
    if len(secret) != PrivateKey.SIZE:
        raise ConfigError(
            f"{path} is damaged: it has {len(secret)} bytes of {PrivateKey.SIZE}. Restore it, or "
            "remove it: the node then makes another one and cannot read what was encrypted for the "
            "former one."
        )
    return PrivateKey(secret)


def public_reader_key(key: PrivateKey) -> Hash:
    """Return the public key as the chain stores it."""
    return Hash(bytes(key.public_key))
