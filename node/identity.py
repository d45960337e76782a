"""The node's own key: a development account by URI, or a key of the encrypted keystore."""

from __future__ import annotations

from node.config import ConfigError, NodeConfig
from node.keystore import Keystore, KeystoreError
from runtime.keys import KeyKind, Keypair

KEYSTORE_FOLDER = "keys"
DEVELOPMENT_TYPES = ("Development", "Local")


def load_pair(config: NodeConfig, chain_type: str) -> Keypair:
    """Return the key pair that signs for this node. Raises ConfigError."""
    if config.account.startswith("//"):
        if chain_type not in DEVELOPMENT_TYPES:
            raise ConfigError(
                f"{config.account} is a development key that everyone knows; on the chain "
                f"{config.chain} name a key of the keystore with --account."
            )
        try:
            return Keypair.from_uri(config.account, KeyKind.ED25519)
        except ValueError as error:
            raise ConfigError(f"{config.account} is no derivation path: {error}") from error
    store = Keystore(config.base_path / KEYSTORE_FOLDER)
    if config.password_file is None:
        raise ConfigError(f"The key {config.account} is encrypted; name its --password-file.")
    try:
        password = config.password_file.read_text(encoding="utf-8").rstrip("\n")
        pair = store.load(config.account, password)
    except (OSError, UnicodeDecodeError, KeystoreError) as error:
        raise ConfigError(f"The key {config.account} cannot be unlocked: {error}") from error
    if pair.kind is not KeyKind.ED25519:
        raise ConfigError(f"The node signs receipts with ed25519; {config.account} is sr25519.")
    return pair
