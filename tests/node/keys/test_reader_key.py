"""The reader key: made once, its owner's alone, and able to open what was sealed for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from nacl.public import PublicKey, SealedBox

from node.keys.reader_key import load_reader_key, public_reader_key
from node.operations.config import ConfigError
from node.operations.data_folder import READER_KEY_FILE


def test_the_key_is_made_at_first_use_and_stays(tmp_path: Path) -> None:
    key = load_reader_key(tmp_path)
    assert (tmp_path / READER_KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert public_reader_key(load_reader_key(tmp_path)) == public_reader_key(key)


def test_what_is_sealed_for_the_key_on_chain_opens_here(tmp_path: Path) -> None:
    public = public_reader_key(load_reader_key(tmp_path))
    sealed = SealedBox(PublicKey(public)).encrypt(b"question")
    assert SealedBox(load_reader_key(tmp_path)).decrypt(sealed) == b"question"


def test_a_damaged_key_is_refused_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / READER_KEY_FILE).write_bytes(b"short")
    with pytest.raises(ConfigError, match="is damaged"):
        load_reader_key(tmp_path)
    assert (tmp_path / READER_KEY_FILE).read_bytes() == b"short"
