"""The node's own keys: its account, its session key, and the identity that its peers know.

An account or session key is a development account by URI, or a key of the encrypted keystore. The
identity among peers is a seed of its own in a file that only the owner may read; it holds no money.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

from ml.durable_file import write_durably
from node.keys.keystore import DamagedKeyFileError, KeyNotFoundError, Keystore, KeystoreError
from node.keys.password_file import is_open_to_others, open_to_others
from node.operations.config import ConfigError, NodeConfig
from node.operations.data_folder import KEYSTORE_FOLDER, PEER_SEED_FILE
from runtime.crypto.keys import KeyKind, Keypair
from runtime.errors import ExitCode

SEED_BYTES: Final = 32
DEVELOPMENT_TYPES: Final = ("Development", "Local")

logger = logging.getLogger(__name__)


class LockedNodeKeyError(ConfigError):
    """A key of the node cannot be opened: no password, or a wrong one."""

    exit_code = ExitCode.LOCKED


def load_pair(config: NodeConfig, chain_type: str) -> Keypair:
    """Return the key pair of the node's account. Raises ConfigError."""
    return _load(config, config.account, chain_type, "--account", config.password_file)


def load_session_pair(config: NodeConfig, chain_type: str) -> Keypair:
    """Return the key pair that votes. Raises ConfigError."""
    if not config.session_key:
        return load_pair(config, chain_type)
    file = config.session_password_file or config.password_file
    return _load(config, config.session_key, chain_type, "--session-key", file)


def check_account(config: NodeConfig, chain_type: str) -> None:
    """Refuse an account with which a node would not start; its password is not asked for.

    Raises ConfigError.
    """
    _find(config, config.account, chain_type, "--account")


def load_peer_seed(folder: Path) -> bytes:
    """Return the 32 bytes of the node's identity among peers, made on the first call.

    Raises ConfigError.
    """
    path = folder / PEER_SEED_FILE
    if not path.exists():
        write_durably(path, os.urandom(SEED_BYTES), 0o600)
    seed = path.read_bytes()
    if len(seed) != SEED_BYTES:
        raise ConfigError(
            f"{path} is damaged: it has {len(seed)} bytes of 32. Remove "
            "the file; the node then gets a new identity among its peers."
        )
    return seed


def _load(
    config: NodeConfig, name: str, chain_type: str, option: str, password_file: Path | None
) -> Keypair:
    store = _find(config, name, chain_type, option)  # no password opens a key that is not there
    if store is None:
        return Keypair.from_uri(name, KeyKind.ED25519)
    if password_file is None:
        raise LockedNodeKeyError(f"The key {name} is encrypted; name its --password-file.")
    if is_open_to_others(password_file):
        logger.warning("password-file-open reason=%r", open_to_others(password_file))
    try:
        return store.load(name, password_file.read_text(encoding="utf-8").rstrip("\n"))
    except DamagedKeyFileError:
        raise
    except (OSError, UnicodeDecodeError, KeystoreError) as error:
        raise LockedNodeKeyError(
            f"The key {name} cannot be unlocked with {password_file}: {error}"
        ) from error


def _find(config: NodeConfig, name: str, chain_type: str, option: str) -> Keystore | None:
    """Return the keystore that has a key; None for a development key. Raises ConfigError."""
    if name.startswith("//"):
        if chain_type not in DEVELOPMENT_TYPES:
            raise ConfigError(
                f"{name} is a development key that everyone knows; on the chain "
                f"{config.chain} name a key of the keystore with {option}."
            )
        try:
            Keypair.from_uri(name, KeyKind.ED25519)
        except ValueError as error:
            raise ConfigError(f"{name} is no derivation path: {error}") from error
        return None
    store = Keystore(config.base_path / KEYSTORE_FOLDER)
    try:
        entry = store.find(name)
    except KeyNotFoundError as error:
        raise ConfigError(
            f"{error} Make it with `openledger key generate {name} --keys {store.folder}`, "
            f"or name another with {option}."
        ) from error
    except OSError as error:
        raise ConfigError(f"The key {name} cannot be read: {error}") from error
    if entry.kind is not KeyKind.ED25519:
        raise ConfigError(f"The node signs with ed25519; {name} is sr25519.")
    return store
