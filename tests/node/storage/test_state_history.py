"""The history of the state: a read at a height sees what later blocks overwrote."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.storage.leveldb import LevelStore
from node.storage.state_history import CommitPlan, HistoricState
from node.storage.state_layout import SPACES
from runtime.trie.backend import Former

keys = st.binary(max_size=2)
blocks = st.lists(st.dictionaries(keys, st.none() | st.sampled_from([b"", b"\0", b"x"])))


@settings(max_examples=30, deadline=None)
@given(blocks, keys, st.none() | keys)
def test_every_height_reads_as_its_own_state(
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[dict[bytes, bytes | None]],
    prefix: bytes,
    after: bytes | None,
) -> None:
    store, space = LevelStore.open(tmp_path_factory.mktemp("history"), create=True), SPACES[0]
    states: list[dict[bytes, bytes]] = []
    values: dict[bytes, bytes] = {}
    for height, changed in enumerate(changes):
        plan = CommitPlan(store.reader, space)
        plan.change_state(height, changed, {}, Former(), keep_old=height > 0)
        store.write(plan.writes)
        for key, value in changed.items():
            values.pop(key, None)
            if value is not None:
                values[key] = value
        states.append(dict(values))
    for height, expected in enumerate(states):
        state = HistoricState(store.reader, space, height)
        assert {key: state.get(key) for key in state.keys(b"")} == expected
        assert list(state.keys(prefix, after)) == sorted(
            key for key in expected if key.startswith(prefix) and (after is None or key > after)
        )
    store.close()
