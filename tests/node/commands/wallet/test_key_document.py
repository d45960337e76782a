"""What commands print of a key: its public half and its file, never a secret."""

from __future__ import annotations

import json
from pathlib import Path

from node.commands.base.documents import to_json
from node.commands.wallet.key_document import account_document, key_document
from node.keys.keystore import LIGHT_COST, Keystore
from runtime.crypto.keys import KeyKind, Keypair


def test_a_document_names_the_key_and_holds_no_secret(tmp_path: Path) -> None:
    pair = Keypair.from_uri("//Mine", KeyKind.SR25519)
    document = key_document(Keystore(tmp_path).add(pair, "password", "mine", LIGHT_COST))
    assert (document.name, document.kind) == ("mine", "sr25519")
    assert document.public_key == "0x" + pair.account.hex()
    assert pair.secret.hex() not in json.dumps(to_json(document))


def test_a_public_key_without_a_file_has_the_same_address(tmp_path: Path) -> None:
    pair = Keypair.from_uri("//Mine")
    document = account_document(pair.account, "ed25519")
    stored = key_document(Keystore(tmp_path).add(pair, "password", "mine", LIGHT_COST))
    assert (document.address, document.file) == (stored.address, None)
