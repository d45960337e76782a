"""The node's own key: a development account by URI, or a key of the encrypted keystore."""

from __future__ import annotations

from node.config import ConfigError, NodeConfig
from node.keystore import Keystore, KeystoreError
from runtime.keys import KeyKind, Keypair

KEYSTORE_FOLDER = "keys"


def load_pair(config: NodeConfig) -> Keypair:
    """Return the key pair that signs for this node. Raises ConfigError."""
    if config.account.startswith("//"):
        if config.chain not in ("dev", "local"):
            raise ConfigError(
                f"{config.account} is a development key that everyone knows; on the chain "
                f"{config.chain} name a key of the keystore with --account."
            )
        return Keypair.from_uri(config.account, KeyKind.ED25519)
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
