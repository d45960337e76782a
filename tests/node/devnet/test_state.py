from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.devnet.errors import DevnetFileError, UnknownDevnetError, UnknownNodeError
from node.devnet.state import (
    STATE_FILE,
    DevnetState,
    NodeRecord,
    Settings,
    Wanted,
    read_state,
    write_state,
)

NODES: Final = tuple(NodeRecord(n, f"//{n}", True, peer_id=f"peer{n}") for n in range(4))
STATE: Final = DevnetState("test", Settings(), NODES, validators=4)


def test_a_state_that_is_written_is_read_back(tmp_path: Path) -> None:
    state = replace(STATE, partition=((0, 1), (2, 3)), latency_ms=7)
    state = state.with_node(replace(NODES[1], wanted=Wanted.KILLED, rpc_port=1))
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    write_state(tmp_path, STATE)
    assert stat.S_IMODE((tmp_path / STATE_FILE).stat().st_mode) == 0o600


def test_a_folder_without_a_devnet_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UnknownDevnetError, match="devnet up"):
        read_state(tmp_path)


def test_a_node_that_is_not_there_is_refused() -> None:
    with pytest.raises(UnknownNodeError, match="no node 9; it has 0, 1, 2, 3"):
        STATE.node(9)


def test_a_node_is_cut_off_the_other_groups_alone() -> None:
    state = replace(STATE, partition=((0, 1), (2,), (3,)))
    assert state.cut_off(0) == ["peer2", "peer3"]
    assert STATE.cut_off(0) == []


def test_a_file_without_a_setting_that_came_later_is_read(tmp_path: Path) -> None:
    write_state(tmp_path, STATE)
    path = tmp_path / STATE_FILE
    document = json.loads(path.read_text())
    del document["settings"]["port_base"]
    path.write_text(json.dumps(document))
    assert read_state(tmp_path) == STATE


def test_differences_are_named_as_the_flags_that_a_user_types() -> None:
    other = replace(STATE.settings, instant=False, block_time_ms=7)
    assert STATE.differing_flags(4, STATE.settings) == ("", "")
    assert STATE.differing_flags(2, other) == (
        "--nodes 4 --block-time-ms 1000 --instant",
        "--nodes 2 --block-time-ms 7 --no-instant",
    )


def test_a_port_base_gives_each_node_two_ports_of_its_own() -> None:
    fixed = replace(STATE.settings, port_base=20_000)
    ports = [port(node) for node in range(4) for port in (fixed.rpc_port, fixed.p2p_port)]
    assert ports == list(range(20_000, 20_008))
    assert STATE.settings.rpc_port(3) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"nodes": 3},
        {"nodes": [{"number": 0}]},
        {"latency_ms": True},
        {"latency_ms": "1"},
        {"partition": [["0"]]},
        {"settings": {}},
        {"more": 1},
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    write_state(tmp_path, STATE)
    path = tmp_path / STATE_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DevnetFileError, match="cannot be read"):
        read_state(tmp_path)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("garbage")
    (folder / STATE_FILE).write_bytes(data)
    with pytest.raises(DevnetFileError):
        read_state(folder)
