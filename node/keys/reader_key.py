"""The reader key: texts that this node's executor is drawn to read are encrypted for it.

The secret is a seed in a file of the chain's data that only the owner may read; it signs nothing.
The public key is on chain, in the record of the executor. A key is made where the chain has none
for this executor, and never in the place of one that is lost: what was encrypted for that would
look as if its server had withheld it.
"""

from __future__ import annotations

from pathlib import Path

from nacl.public import PrivateKey

from ml.durable_file import write_durably
from node.operations.config import ConfigError
from node.operations.data_folder import READER_KEY_FILE
from runtime.types.primitives import Hash

FILE_MODE = 0o600


class ReaderKeyMissingError(ConfigError):
    """There is no file of the reader key."""


class ReaderKeyDamagedError(ConfigError):
    """The file of the reader key holds no key."""


class ReaderKeyDiffersError(ConfigError):
    """The chain has another reader key for this executor than the one that is here."""


def make_reader_key(folder: Path) -> PrivateKey:
    """Make the X25519 key of a chain's data folder, which has none. Raises OSError."""
    path = folder / READER_KEY_FILE
    assert not path.exists(), "a key is never replaced"
    key = PrivateKey.generate()
    write_durably(path, bytes(key), FILE_MODE)
    return key


def load_reader_key(folder: Path) -> PrivateKey:
    """Return the X25519 key of a chain's data folder. Raises ReaderKeyMissingError,
    ReaderKeyDamagedError, OSError."""
    path = folder / READER_KEY_FILE
    way_out = (
        "Restore it from a copy, or put a new key there, with which texts that were encrypted for "
        f"the former one cannot be read: `head -c {PrivateKey.SIZE} /dev/urandom > {path}; chmod "
        f"600 {path}`. Then start the node again."
    )
    try:
        secret = path.read_bytes()
    except FileNotFoundError as error:
        raise ReaderKeyMissingError(f"The reader key {path} is missing. {way_out}") from error
    if len(secret) != PrivateKey.SIZE or not any(secret):
        raise ReaderKeyDamagedError(f"The reader key {path} is damaged. {way_out}")
    return PrivateKey(secret)


def load_registered_key(folder: Path, registered: Hash) -> PrivateKey:
    """Return the X25519 key for which the chain has texts encrypted. Raises ReaderKeyMissingError,
    ReaderKeyDamagedError, ReaderKeyDiffersError, OSError."""
    key = load_reader_key(folder)
    if public_reader_key(key) != registered:
        raise ReaderKeyDiffersError(
            f"The chain has the reader key {registered.hex()} for this executor, and here is "
            f"{public_reader_key(key).hex()}. The node declares it, and reads no texts until then."
        )
    return key


def public_reader_key(key: PrivateKey) -> Hash:
    """Return the public key as the chain stores it."""
    return Hash(bytes(key.public_key))
