"""The commands of `openledger devnet`, on stand-ins for nodes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from node.commands.catalogue import schemas
from node.devnet import folders, member
from node.devnet.cluster import Cluster
from tests.cluster.conftest import FAKE_NODE
from tests.conftest import REPOSITORY
from tests.node.commands.support.calling import OpenLedger
from tests.node.commands.test_catalogue import fits

SCHEMAS: Final = schemas()
SECONDS: Final = 30


@pytest.fixture
def openledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenLedger]:
    monkeypatch.setenv(folders.ROOT_VARIABLE, str(tmp_path / "devnets"))
    monkeypatch.setattr(member, "PROGRAM", (sys.executable, "-S", str(FAKE_NODE)))
    yield OpenLedger("ws://127.0.0.1:1", tmp_path / "keys")
    for name in folders.names():
        for node in Cluster(folders.open_folder(name)).members:
            node.kill()


@pytest.fixture
def free_ports() -> int:
    """The first of two neighbouring ports that were free a moment ago."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first, suppress(OSError, OverflowError):
            port: int = first.getsockname()[1]
            with socket.create_server(("127.0.0.1", port + 1)):
                return port


@pytest.fixture
def up(openledger: OpenLedger) -> Any:
    return openledger.json("devnet", "up", "--nodes", "2")


def test_a_devnet_comes_up_and_goes_down(openledger: OpenLedger, up: Any) -> None:
    assert [node["state"] for node in up["nodes"]] == ["running", "running"]
    assert all(node["url"].startswith("ws://127.0.0.1:") for node in up["nodes"])
    called = openledger("devnet", "up", "--nodes", "2")
    assert (called.exit_code, "is up" in called.err) == (2, True)
    down = openledger.json("devnet", "down")
    assert down["is_removed"]
    assert not Path(down["folder"]).exists()


def test_the_way_up_is_told_on_the_terminal(openledger: OpenLedger) -> None:
    called = openledger("devnet", "up", "--nodes", "1")
    assert called.exit_code == 0, called.err
    assert "node 0 is ready at ws://" in called.err
    assert "running" in called.out


def test_a_folder_that_was_named_is_kept(openledger: OpenLedger, tmp_path: Path) -> None:
    words = ("devnet", "up", "--nodes", "1", "--name", "mine")
    openledger.json(*words, "--keep-folder", str(tmp_path / "here"))
    assert not openledger.json("devnet", "down", "--name", "mine")["is_removed"]
    assert (tmp_path / "here" / "devnet.json").is_file()
    openledger.json(*words)
    assert openledger.json("devnet", "down", "--name", "mine", "--purge")["is_removed"]
    assert openledger.json("devnet", "list")["devnets"] == []


@pytest.mark.parametrize(
    ("words", "states"),
    [
        ([("kill", "1")], ["running", "killed"]),
        ([("stop", "0")], ["stopped", "running"]),
        ([("pause", "1")], ["running", "paused"]),
        ([("pause", "1"), ("resume", "1")], ["running", "running"]),
        ([("kill", "1"), ("start", "1")], ["running", "running"]),
        ([("add",)], ["running", "running", "running"]),
        ([("remove", "0")], ["running"]),
    ],
)
def test_nodes_are_hurt_and_healed(
    openledger: OpenLedger, up: Any, words: list[tuple[str, ...]], states: list[str]
) -> None:
    for each in words:
        document = openledger.json("devnet", *each)
        assert fits(SCHEMAS[f"devnet-{each[0]}"], document)
    status = openledger.json("devnet", "status")
    assert [node["state"] for node in status["nodes"]] == states


def test_a_devnet_that_is_down_takes_its_options_from_its_file(openledger: OpenLedger) -> None:
    openledger.json("devnet", "up", "--nodes", "2", "--block-time-ms", "300", "--no-serve")
    openledger.json("devnet", "down", "--keep")
    again = openledger.json("devnet", "up")
    assert len(again["nodes"]) == 2
    assert Cluster(Path(again["folder"])).state.settings.block_time_ms == 300
    openledger.json("devnet", "down", "--keep")
    called = openledger("devnet", "up", "--nodes", "3", "--serve")
    assert called.exit_code == 2
    assert "made with --nodes 2 --no-serve, and not with --nodes 3 --serve" in called.err


def test_all_nodes_that_do_not_run_are_started_together(openledger: OpenLedger, up: Any) -> None:
    openledger.json("devnet", "kill", "0")
    process = Cluster(folders.open_folder("default")).member(1).process
    process.signal(signal.SIGSEGV)
    assert process.wait_end(SECONDS)
    called = openledger("devnet", "start")
    assert (called.exit_code, "--all" in called.err) == (2, True)
    document = openledger.json("devnet", "start", "--all")
    assert [node["state"] for node in document["nodes"]] == ["running", "running"]
    assert fits(SCHEMAS["devnet-start"], document)
    called = openledger("devnet", "start", "--all")
    assert (called.exit_code, "All nodes run" in called.err) == (0, True)
    openledger.json("devnet", "kill", "1")
    called = openledger("devnet", "up")
    assert called.exit_code == 2
    assert "Start 1 again with `openledger devnet start --all`" in called.err


def test_a_port_base_fixes_the_ports_or_says_which_is_taken(
    openledger: OpenLedger, free_ports: int
) -> None:
    words = ("devnet", "up", "--nodes", "1", "--port-base", str(free_ports))
    (node,) = openledger.json(*words)["nodes"]
    assert node["url"].endswith(f":{free_ports}")
    openledger.json("devnet", "down")
    with socket.create_server(("127.0.0.1", free_ports + 1)):
        called = openledger(*words)
    assert called.exit_code == 2
    assert openledger.json("devnet", "list")["devnets"] == [], "nothing is left of it"
    assert f"Port {free_ports + 1} of 127.0.0.1 is taken" in called.err


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_closed_terminal_takes_a_devnet_in_the_foreground_down(
    openledger: OpenLedger, tmp_path: Path, number: signal.Signals
) -> None:
    source = (
        "import sys; from node.devnet import member; "
        f"member.PROGRAM = (sys.executable, '-S', {str(FAKE_NODE)!r}); from cli import main; main()"
    )
    words = ("devnet", "up", "--nodes", "2", "--foreground")
    child = subprocess.Popen(
        [sys.executable, "-c", source, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert child.stderr is not None
    assert any("Ctrl-C takes" in line for line in child.stderr)
    members = Cluster(folders.open_folder("default")).members
    assert all(member.process.is_alive for member in members)
    child.send_signal(number)
    child.communicate(timeout=SECONDS)
    assert not any(member.process.is_alive for member in members)
    assert folders.names() == []


def test_the_network_is_cut_and_healed(openledger: OpenLedger, up: Any) -> None:
    assert openledger.json("devnet", "partition", "0|1")["partition"] == "0|1"
    assert openledger.json("devnet", "latency", "30")["latency_ms"] == 30
    status = openledger.json("devnet", "status")
    assert (status["partition"], status["latency_ms"]) == ("0|1", 30)
    assert openledger.json("devnet", "heal") == {
        "devnet": "default",
        "partition": "",
        "latency_ms": 0,
    }


def test_a_devnet_is_hurried_by_blocks(openledger: OpenLedger, up: Any) -> None:
    document = openledger.json("devnet", "advance", "--blocks", "7")
    assert document["to_height"] == document["from_height"] + 7


def test_a_devnet_is_saved_and_loaded(openledger: OpenLedger, up: Any) -> None:
    saved = openledger.json("devnet", "save", "first")
    assert saved["size_bytes"] > 0
    assert openledger.json("devnet", "list") == {"devnets": ["default"], "saves": ["first"]}
    openledger.json("devnet", "remove", "1")
    refused = openledger("devnet", "load", "first")
    assert (refused.exit_code, "What was not saved is lost" in refused.err) == (2, True)
    assert len(openledger.json("devnet", "status")["nodes"]) == 1
    assert len(openledger.json("devnet", "load", "first", "--yes")["nodes"]) == 2


@pytest.mark.parametrize("words", [("down",), ("remove", "1")])
def test_a_person_is_asked_before_a_chain_goes_and_a_script_is_not(
    openledger: OpenLedger, up: Any, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda file: True)
    refused = openledger("devnet", *words, typed="n\n")
    assert (refused.exit_code, "for good?" in refused.err) == (2, True)
    assert len(openledger.json("devnet", "status")["nodes"]) == 2
    assert openledger("devnet", *words, typed="y\n").exit_code == 0


@pytest.mark.parametrize(
    ("command", "lost"), [("down", "remove its chain"), ("load", "Replace"), ("remove", "delete")]
)
def test_the_first_line_of_help_says_what_is_lost(
    openledger: OpenLedger, command: str, lost: str
) -> None:
    assert lost in openledger("devnet", command, "--help").out.splitlines()[2]


def test_a_node_that_died_is_named_with_its_cause(openledger: OpenLedger, up: Any) -> None:
    process = Cluster(folders.open_folder("default")).member(1).process
    process.signal(signal.SIGSEGV)
    assert process.wait_end(SECONDS)
    called = openledger("devnet", "status")
    assert "dead" in called.out
    assert "ended by SIGSEGV" in called.out


def test_the_log_of_a_node_is_shown(openledger: OpenLedger, up: Any, tmp_path: Path) -> None:
    log = Path(openledger.json("devnet", "logs", "0")["file"])
    log.write_text("one\ntwo\nthree\n")
    assert openledger("devnet", "logs", "0", "-n", "2").out == "two\nthree\n"
    assert openledger.json("devnet", "logs", "0", "-n", "1")["lines"] == ["three"]
    assert openledger("devnet", "logs", "0", "-f", "--json").exit_code == 2


def test_a_log_is_followed_until_it_is_enough(openledger: OpenLedger, up: Any) -> None:
    log = Path(openledger.json("devnet", "logs", "0")["file"])
    source = "from cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", source, "devnet", "logs", "0", "-f"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    ) as child:
        assert child.stdout is not None
        log.write_text("first\n")
        found = child.stdout.readline()
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=SECONDS)
    assert found == "first\n"
    assert (child.returncode, errors) == (130, "Stopped.\n")


def test_a_command_runs_against_a_node(openledger: OpenLedger, up: Any) -> None:
    words = ("devnet", "exec", "--json", "1", "--")
    done = openledger(*words, "key", "inspect", "//Alice", "--json").document
    assert fits(SCHEMAS["devnet-exec"], done)
    assert json.loads(done["stdout"])["address"]
    refused = openledger(*words, "account", "balance", "garbage").document
    assert (done["exit_code"], refused["exit_code"]) == (0, 2)


def test_a_devnet_in_the_foreground_goes_down_with_ctrl_c(
    openledger: OpenLedger, tmp_path: Path
) -> None:
    source = (
        "import sys; from node.devnet import member\n"
        f"member.PROGRAM = ({sys.executable!r}, '-S', {str(FAKE_NODE)!r})\n"
        "from cli import main; main()"
    )
    words = ["devnet", "up", "--nodes", "2", "--foreground", "--json"]
    with subprocess.Popen(
        [sys.executable, "-c", source, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    ) as child:
        assert child.stderr is not None
        timer = threading.Timer(SECONDS, child.kill)
        timer.start()
        while "Ctrl-C" not in (line := child.stderr.readline()):
            assert line, "it ended"
        process = Cluster(folders.open_folder("default")).member(1).process
        process.signal(signal.SIGKILL)
        assert child.stderr.readline() == "Node 1 ended by SIGKILL.\n"
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=SECONDS)
        timer.cancel()
    assert child.returncode == 0, errors
    assert folders.names() == []


@pytest.mark.parametrize(
    ("words", "exit_code", "sentence"),
    [
        (("status",), 2, "There is no devnet default; there is: none."),
        (("status", "--name", "../x"), 2, "is no name"),
        (("load", "nothing"), 2, "There is no save nothing"),
        (("kill", "x"), 2, "not a valid integer"),
    ],
)
def test_without_a_devnet_commands_say_so(
    openledger: OpenLedger, words: tuple[str, ...], exit_code: int, sentence: str
) -> None:
    called = openledger("devnet", *words)
    assert called.exit_code == exit_code
    assert sentence in called.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("kill", "9"), "no node 9; it has 0, 1"),
        (("start", "0"), "Node 0 is running"),
        (("partition", "0,1|2,3"), "No such node: 2, 3"),
        (("partition", "garbage"), "no node number"),
        (("advance",), "--blocks N or --eras N"),
        (("advance", "--blocks", "1", "--eras", "1"), "--blocks N or --eras N"),
        (("latency", "-1"), "No such option"),
        (("save", "../x"), "is no name"),
    ],
)
def test_what_makes_no_sense_is_refused(
    openledger: OpenLedger, up: Any, words: tuple[str, ...], sentence: str
) -> None:
    called = openledger("devnet", *words)
    assert called.exit_code == 2
    assert sentence in called.err


@pytest.mark.parametrize(
    ("schema", "words"),
    [("status", ()), ("list", ()), ("logs", ("0",)), ("heal", ()), ("latency", ("0",))],
)
def test_what_is_printed_fits_its_schema(
    openledger: OpenLedger, up: Any, schema: str, words: tuple[str, ...]
) -> None:
    assert fits(SCHEMAS["devnet-up"], up)
    assert fits(SCHEMAS[f"devnet-{schema}"], openledger.json("devnet", schema, *words))
