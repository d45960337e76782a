from __future__ import annotations

from pathlib import Path

import pytest

from ml.adapters import store as store_module
from ml.adapters.store import AdapterCorruptError, AdapterMissingError, AdapterStore
from ml.adapters.validation import AdapterTooLargeError
from ml.durable_file import write_durably
from runtime.trie.merkle import blob_id


def test_what_is_put_is_got_by_its_hash(tmp_path: Path) -> None:
    store = AdapterStore(tmp_path / "adapters")
    name = store.put(b"adapter")
    assert name == blob_id(b"adapter")
    assert store.put(b"adapter") == name
    assert name in store
    assert store.get(name) == b"adapter"
    assert store.names() == [name]


def test_a_removed_adapter_is_missing(tmp_path: Path) -> None:
    store = AdapterStore(tmp_path)
    name = store.put(b"adapter")
    store.remove(name)
    store.remove(name)
    with pytest.raises(AdapterMissingError, match=name.hex()):
        store.get(name)


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    store = AdapterStore(tmp_path)
    name = store.put(b"adapter")
    (tmp_path / f"{name.hex()}.safetensors").write_bytes(b"adapteR")
    with pytest.raises(AdapterCorruptError, match="changed on disk"):
        store.get(name)


def test_a_file_over_the_limit_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "ADAPTER_BYTES_MAX", 3)
    with pytest.raises(AdapterTooLargeError):
        AdapterStore(tmp_path).put(b"four")


def test_an_atomic_write_leaves_no_other_file(tmp_path: Path) -> None:
    write_durably(tmp_path / "file", b"one")
    write_durably(tmp_path / "file", b"two")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"two"
