"""What a devnet does with its nodes' processes, files and sockets, on stand-ins for nodes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from node.devnet import member as member_module
from node.devnet.cluster import Cluster
from node.devnet.errors import (
    DevnetBusyError,
    DevnetExistsError,
    NodeStartError,
    NodeStateError,
    NodeStopError,
    NotFinalInTimeError,
    SaveError,
    UnknownDevnetError,
    UnknownNodeError,
)
from node.devnet.folders import locked
from node.devnet.member import Condition, Member
from node.devnet.process import until
from node.devnet.state import Settings, node_folder
from tests.cluster.conftest import FAST, Devnet


def control_requests(cluster: Cluster, node: int) -> list[dict[str, Any]]:
    """Return the requests to a stand-in's control socket since it started."""
    path = node_folder(cluster.folder, node) / "requests.json"
    return json.loads(path.read_text()) if path.exists() else []


def arguments(cluster: Cluster, node: int) -> list[str]:
    """Return the words with which a stand-in was started last."""
    words: list[str] = json.loads(
        (node_folder(cluster.folder, node) / "arguments.json").read_text()
    )
    return words


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def conditions(cluster: Cluster) -> list[Condition]:
    return [member.condition for member in cluster.members]


def test_all_nodes_run_and_know_the_first(fake_devnet: Devnet) -> None:
    cluster = fake_devnet(3)
    assert conditions(cluster) == [Condition.RUNNING] * 3
    first = cluster.member(0).ready_endpoint().p2p[0]
    for node in (1, 2):
        assert option(arguments(cluster, node), "--bootnode") == first
    assert "--bootnode" not in arguments(cluster, 0)


def test_each_node_has_its_own_account_and_the_same_chain(fake_devnet: Devnet) -> None:
    cluster = fake_devnet(2)
    words = [arguments(cluster, node) for node in cluster.nodes]
    assert [option(command, "--session-key") for command in words] == ["//Alice", "//Bob"]
    assert len({option(command, "--chain") for command in words}) == 1


def test_settings_of_the_users_environment_do_not_reach_nodes(
    fake_devnet: Devnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLEDGER_VALIDATOR", "no")
    cluster = fake_devnet(1)
    pid = cluster.member(0).process.pid
    assert b"OPENLEDGER_VALIDATOR" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_a_devnet_that_is_up_is_not_started_again(fake_devnet: Devnet) -> None:
    cluster = fake_devnet(1)
    with pytest.raises(DevnetExistsError, match="is up"):
        Cluster.up(cluster.folder, cluster.name, 1, FAST)
    assert cluster.running() == (0,)


def test_a_devnet_that_is_down_starts_again_as_it_was(fake_devnet: Devnet) -> None:
    cluster = fake_devnet(2)
    ports = [(record.rpc_port, record.p2p_port) for record in cluster.state.nodes]
    cluster.down(purge=False)
    assert conditions(cluster) == [Condition.STOPPED] * 2
    with pytest.raises(DevnetExistsError, match="made with --nodes 2, and not with --nodes 3"):
        Cluster.up(cluster.folder, cluster.name, 3, FAST)
    differing = "made with --block-time-ms 200 --no-executors --no-serve, and not with --block"
    with pytest.raises(DevnetExistsError, match=differing):
        Cluster.up(cluster.folder, cluster.name, 2, Settings())
    again = Cluster.up(cluster.folder, cluster.name, 2, FAST)
    assert [(record.rpc_port, record.p2p_port) for record in again.state.nodes] == ports


def test_a_devnet_that_was_purged_is_gone(fake_devnet: Devnet) -> None:
    cluster = fake_devnet(1)
    cluster.down(purge=True)
    assert not cluster.folder.exists()
    with pytest.raises(UnknownDevnetError):
        Cluster(cluster.folder)


def test_a_node_that_cannot_start_says_why_and_leaves_nothing_running(
    fake_devnet: Devnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLEDGER_BASE_MODEL", "fails")
    with pytest.raises(NodeStartError, match="ended with status 2; Error: the disk is made of"):
        fake_devnet(2)


def test_a_node_dies_and_comes_back_at_its_ports(fake_devnet: Devnet) -> None:
    cluster = fake_devnet(2)
    ports = cluster.state.node(1)
    cluster.kill(1)
    assert conditions(cluster) == [Condition.RUNNING, Condition.KILLED]
    cluster.start(1)
    assert cluster.state.node(1) == ports
    assert option(arguments(cluster, 1), "--p2p-port") == str(ports.p2p_port)


def test_a_node_whose_port_was_taken_gets_another(fake_devnet: Devnet) -> None:
    cluster = fake_devnet(2)
    taken = cluster.state.node(0).rpc_port
    cluster.stop(1)
    words = Member(cluster.folder, cluster.state.node(0)).command(FAST, ())
    assert option(words, "--port") == "0"
    assert taken != 0


def test_a_node_that_dies_by_itself_is_dead_and_its_cause_is_known(fake_devnet: Devnet) -> None:
    cluster = fake_devnet(2)
    assert cluster.member(1).process.signal(signal.SIGABRT)
    assert cluster.member(1).process.wait_end(20)
    reports = cluster.report()
    assert [report.condition for report in reports] == [Condition.RUNNING, Condition.DEAD]
    assert reports[1].cause == "ended by SIGABRT"
    assert reports[0].finalized is not None


def test_a_paused_node_is_not_waited_for(fake_devnet: Devnet) -> None:
    cluster = fake_devnet(2)
    cluster.pause(0)
    assert cluster.running() == (1,)
    paused, other = cluster.report()
    assert (paused.condition, paused.finalized) == (Condition.PAUSED, None)
    assert other.finalized is not None
    cluster.resume(0)
    assert cluster.running() == (0, 1)


@pytest.mark.parametrize("verb", ["start", "resume"])
def test_what_a_running_node_cannot_do_is_refused(fake_devnet: Devnet, verb: str) -> None:
    cluster = fake_devnet(1)
    with pytest.raises(NodeStateError, match="Node 0 is running"):
        getattr(cluster, verb)(0)
    with pytest.raises(UnknownNodeError):
        getattr(cluster, verb)(7)


def test_what_a_dead_node_cannot_do_is_refused(fake_devnet: Devnet) -> None:
    cluster = fake_devnet(1)
    cluster.kill(0)
    for verb in ("kill", "stop", "pause", "resume"):
        with pytest.raises(NodeStateError, match="Node 0 is killed"):
            getattr(cluster, verb)(0)
    with pytest.raises(NodeStateError, match="devnet start 0"):
        cluster.url(0)


def test_a_node_that_does_not_stop_is_killed_and_that_is_control_requests(
    fake_devnet: Devnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLEDGER_BASE_MODEL", "stubborn")
    cluster = fake_devnet(1)
    with pytest.raises(NodeStopError, match="was killed"):
        cluster.member(0).stop(seconds=0.2)
    assert not cluster.member(0).process.is_alive


def test_a_partition_is_told_to_every_node_and_to_those_that_come_back(
    fake_devnet: Devnet,
) -> None:
    cluster = fake_devnet(4)
    cluster.kill(3)
    cluster.partition((0, 1), (2, 3))
    assert control_requests(cluster, 0)[0] == {"do": "block", "peers": ["peer2", "peer3"]}
    assert control_requests(cluster, 2)[0] == {"do": "block", "peers": ["peer0", "peer1"]}
    cluster.start(3)
    assert control_requests(cluster, 3) == [{"do": "block", "peers": ["peer0", "peer1"]}]
    cluster.heal()
    assert control_requests(cluster, 3)[1] == {"do": "unblock"}


def test_a_node_that_was_paused_hears_of_the_network_when_it_goes_on(fake_devnet: Devnet) -> None:
    cluster = fake_devnet(2)
    cluster.pause(1)
    cluster.latency(40)
    assert control_requests(cluster, 1) == []
    cluster.resume(1)
    assert {"do": "latency", "ms": 40} in control_requests(cluster, 1)
    assert {"do": "latency", "ms": 40} in control_requests(cluster, 0)


def test_a_partition_keeps_the_number_of_nodes(fake_devnet: Devnet) -> None:
    cluster = fake_devnet(2)
    cluster.partition((0,), (1,))
    with pytest.raises(NodeStateError, match="devnet heal"):
        cluster.add()
    with pytest.raises(NodeStateError, match="devnet heal"):
        cluster.remove(1)


def test_a_node_is_added_and_removed(fake_devnet: Devnet) -> None:
    cluster = fake_devnet(1)
    assert cluster.add(sync="fast") == 1
    words = arguments(cluster, 1)
    assert option(words, "--sync") == "fast"
    assert "--validator" not in words
    assert option(words, "--bootnode") == cluster.member(0).ready_endpoint().p2p[0]
    cluster.remove(1)
    assert cluster.nodes == (0,)
    assert not node_folder(cluster.folder, 1).exists()


def test_all_running_nodes_are_told_to_propose_immediately(fake_devnet: Devnet) -> None:
    cluster = fake_devnet(2)
    done = cluster.advance(10)
    assert done.to_height == done.from_height + 10
    for node in cluster.nodes:
        assert control_requests(cluster, node)[-1] == {
            "do": "propose_immediately",
            "until": done.to_height,
        }
        assert cluster.finalized(node) >= done.to_height


def test_a_wait_that_is_over_tells_every_height(fake_devnet: Devnet) -> None:
    cluster = fake_devnet(2)
    with pytest.raises(NotFinalInTimeError, match=r"node 0 \d+, node 1 \d+.*status --explain"):
        cluster.wait_final(1 << 40, seconds=0.1)


def test_a_wait_for_a_node_that_ended_tells_its_cause(fake_devnet: Devnet) -> None:
    cluster = fake_devnet(2)
    cluster.kill(1)
    with pytest.raises(NodeStateError, match="Node 1 ended by SIGKILL"):
        cluster.wait_final(1 << 40, [0, 1])


def test_a_save_brings_all_nodes_back(fake_devnet: Devnet, tmp_path: Path) -> None:
    cluster = fake_devnet(2)
    cluster.partition((0,), (1,))
    (node_folder(cluster.folder, 1) / "chains").mkdir()
    (node_folder(cluster.folder, 1) / "chains" / "block").write_text("1")
    save = tmp_path / "save"
    assert cluster.save(save) > 0
    assert cluster.running() == (0, 1)
    with pytest.raises(SaveError, match="already"):
        cluster.save(save)
    cluster.heal()
    cluster.remove(1)
    back = Cluster.load(save, cluster.folder, cluster.name)
    assert back.running() == (0, 1)
    assert back.state.partition == ((0,), (1,))
    assert (node_folder(back.folder, 1) / "chains" / "block").read_text() == "1"
    assert control_requests(back, 1) == [{"do": "block", "peers": ["peer0"]}]


def test_a_save_that_is_not_there_is_refused_and_nothing_stops(
    fake_devnet: Devnet, tmp_path: Path
) -> None:
    cluster = fake_devnet(1)
    with pytest.raises(SaveError, match="no save nothing"):
        Cluster.load(tmp_path / "nothing", cluster.folder, cluster.name)
    assert cluster.running() == (0,)


def test_a_save_is_loaded_where_no_devnet_is(fake_devnet: Devnet, tmp_path: Path) -> None:
    cluster = fake_devnet(1)
    cluster.save(tmp_path / "save")
    cluster.down(purge=True)
    back = Cluster.load(tmp_path / "save", cluster.folder, cluster.name)
    assert back.running() == (0,)


def test_files_left_by_a_machine_that_went_down_are_no_node(fake_devnet: Devnet) -> None:
    """endpoint.json names a process id that now belongs to somebody else."""
    cluster = fake_devnet(1)
    cluster.kill(0)
    base = cluster.member(0).base_path
    (base / "exit.json").unlink()
    data = json.loads((base / "endpoint.json").read_text())
    (base / "endpoint.json").write_text(json.dumps({**data, "pid": os.getpid()}))
    (base / "process.json").write_text(json.dumps({"pid": os.getpid(), "log_start": 0}))
    assert cluster.running() == ()
    cluster.start(0)
    assert cluster.running() == (0,)


def test_a_devnet_is_changed_by_one_program_at_a_time(tmp_path: Path) -> None:
    second = locked(tmp_path, busy_seconds=0.1)
    with locked(tmp_path), pytest.raises(DevnetBusyError, match="Another command"), second:
        raise AssertionError("both hold the lock")


def test_two_programs_that_change_a_devnet_lose_nothing(fake_devnet: Devnet) -> None:
    cluster = fake_devnet(2)
    others = [Cluster(cluster.folder) for _ in range(2)]
    threads = [
        threading.Thread(target=others[0].kill, args=(0,)),
        threading.Thread(target=others[1].latency, args=(5,)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cluster.reload()
    assert (cluster.state.latency_ms, conditions(cluster)[0]) == (5, Condition.KILLED)


def test_a_folder_that_vanished_is_control_requests(fake_devnet: Devnet) -> None:
    cluster = fake_devnet(1)
    cluster.down(purge=False)
    shutil.rmtree(cluster.folder)
    with pytest.raises(UnknownDevnetError):
        cluster.start(0)


def test_a_node_that_is_starting_is_not_ready_yet(
    fake_devnet: Devnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = fake_devnet(1)
    cluster.kill(0)
    sleeper = ("/bin/sh", "-c", "sleep 600")
    monkeypatch.setattr(member_module, "PROGRAM", sleeper)
    cluster.member(0).start(FAST, ())
    assert until(lambda: cluster.member(0).process.is_alive, 10)
    with pytest.raises(NodeStateError, match="not ready yet"):
        cluster.url(0)
    with pytest.raises(NodeStartError, match=r"was not ready within 0 s"):
        cluster.member(0).wait_ready(0.1)
