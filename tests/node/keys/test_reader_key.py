"""The reader key: made once, its owner's alone, and able to open what was sealed for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from nacl.public import PublicKey, SealedBox

from node.keys.reader_key import (
    ReaderKeyDamagedError,
    ReaderKeyDiffersError,
    ReaderKeyMissingError,
    load_reader_key,
    load_registered_key,
    make_reader_key,
    public_reader_key,
)
from node.operations.data_folder import READER_KEY_FILE
from runtime.types.primitives import ZERO_HASH


def test_a_key_is_its_owners_alone_and_stays(tmp_path: Path) -> None:
    key = make_reader_key(tmp_path)
    assert (tmp_path / READER_KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert load_registered_key(tmp_path, public_reader_key(key)) == key
    with pytest.raises(AssertionError):
        make_reader_key(tmp_path)


def test_what_is_sealed_for_the_key_on_chain_opens_here(tmp_path: Path) -> None:
    public = public_reader_key(make_reader_key(tmp_path))
    sealed = SealedBox(PublicKey(public)).encrypt(b"question")
    assert SealedBox(load_reader_key(tmp_path)).decrypt(sealed) == b"question"


@pytest.mark.parametrize("content", [b"", b"short", bytes(32), b"k" * 33])
def test_a_damaged_key_is_refused_and_not_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / READER_KEY_FILE).write_bytes(content)
    with pytest.raises(ReaderKeyDamagedError, match="Restore it from a copy, or put a new key"):
        load_reader_key(tmp_path)
    assert (tmp_path / READER_KEY_FILE).read_bytes() == content


def test_a_missing_key_is_said_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(ReaderKeyMissingError, match=str(tmp_path / READER_KEY_FILE)):
        load_reader_key(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_key_that_the_chain_does_not_have_reads_nothing(tmp_path: Path) -> None:
    make_reader_key(tmp_path)
    with pytest.raises(ReaderKeyDiffersError):
        load_registered_key(tmp_path, ZERO_HASH)
