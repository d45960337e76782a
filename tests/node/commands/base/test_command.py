"""What all commands share: times, questions, refusals by click, Ctrl-C at any moment."""

from __future__ import annotations

import importlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from node.commands.base.exit_codes import errors_as_exit_codes
from node.commands.base.output import Output, Problem
from node.commands.catalogue import schemas
from tests.conftest import REPOSITORY
from tests.node.commands.support.calling import OpenLedger
from tests.node.commands.test_catalogue import fits


@pytest.fixture
def offline(tmp_path: Path) -> OpenLedger:
    return OpenLedger("ws://127.0.0.1:1", tmp_path / "keys")


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "0", "1e9", "soon", ""])
@pytest.mark.parametrize("option", ["--timeout", "--wait-seconds"])
def test_a_time_that_no_clock_can_wait_for_is_refused(
    offline: OpenLedger, option: str, text: str
) -> None:
    words = ("account", "transfer", "//Bob", "1", "--from", "//Alice", option, text)
    called = offline(*words)
    assert called.exit_code == 2, called.err
    assert "is no time" in called.err


@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_a_node_that_is_too_slow_is_not_called_something_else(
    offline: OpenLedger, scheme: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        called = offline("status", "--url", url, "--timeout", "0.1")
    assert called.exit_code == 3
    assert "within 0.1 s" in called.err
    assert "--timeout" in called.err
    assert "does not speak" not in called.err


@pytest.mark.parametrize(
    "words",
    [
        ("nothing",),
        ("account", "balance"),
        ("account", "balance", "//Alice", "--colour"),
        ("dev", "--port", "70000"),
        ("account", "transfer", "//Bob", "1", "--from", "//Alice", "--timeout", "nan"),
    ],
)
def test_what_click_refuses_is_an_error_document_too(
    offline: OpenLedger, words: tuple[str, ...]
) -> None:
    called = offline(*words, "--json")
    assert called.exit_code == 2
    assert called.err
    assert fits(schemas()["error"], called.document)
    assert called.document["error"]["exit_code"] == 2
    assert offline(*words).out == ""


def test_json_behind_two_dashes_belongs_to_another_command(offline: OpenLedger) -> None:
    assert offline("nothing", "--", "--json").out == ""


def test_ctrl_c_while_a_command_is_loaded_is_a_stop(
    offline: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib, "import_module", interrupted)
    called = offline("status")
    assert called.exit_code == 130
    assert (called.out, called.err.strip()) == ("", "Stopped.")
    document = offline("status", "--json").document
    monkeypatch.undo()
    assert fits(schemas()["error"], document)
    assert document["error"]["exit_code"] == 130


def test_ctrl_c_in_a_command_is_an_error_document_unless_there_is_one_already(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for is_shown in (False, True):
        output = Output(as_json=True)
        if is_shown:
            output.show(Problem("kind", "message", 0))
        with pytest.raises(SystemExit), errors_as_exit_codes(output):
            raise KeyboardInterrupt
        document = json.loads(capsys.readouterr().out)  # one, and not two
        assert ("error" in document) is not is_shown


def test_an_error_has_its_exit_code_although_nobody_reads_its_document(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = ("chain", "restore", str(tmp_path / "none"), "--base-path", str(tmp_path), "--json")
    done = subprocess.run(
        [sys.executable, "cli.py", *words],
        cwd=REPOSITORY, stdout=writer, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "none cannot be used" in done.stderr


def test_words_to_a_terminal_that_is_gone_are_lost_and_end_nothing() -> None:
    controller, terminal = pty.openpty()
    script = (
        "import sys; from node.commands.base.output import Output; sys.stdin.readline(); "
        "Output(as_json=False).say('lost'); sys.stderr.write('went on'); "
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, text=True,
        stdin=subprocess.PIPE, stdout=terminal, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(terminal)
    os.close(controller)
    _, err = child.communicate("\n", timeout=30)
    assert (child.returncode, err) == (0, "went on")


def test_ctrl_c_in_the_first_moments_of_a_process_is_never_called_aborted() -> None:
    for delay_s in (0.1, 0.2, 0.4):
        child = subprocess.Popen(
            [sys.executable, "cli.py", "node", "start", "--chain", "dev", "--port", "0"],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(delay_s)  # the moment is what is tested
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
        assert "Aborted" not in err
        assert child.returncode in (130, -signal.SIGINT, 0)


def test_a_question_that_nobody_answers_is_refused(offline: OpenLedger, tmp_path: Path) -> None:
    (tmp_path / "chains" / "dev").mkdir(parents=True)
    words = ("chain", "purge", "--base-path", str(tmp_path))
    called = offline(*words, typed="")
    assert called.exit_code == 2
    assert "Nobody answered" in called.err
    assert "--yes" in called.err
    assert (tmp_path / "chains" / "dev").is_dir()


def test_an_error_of_the_system_is_a_sentence(offline: OpenLedger, tmp_path: Path) -> None:
    called = offline("chain", "check", "--file", str(tmp_path))
    assert called.exit_code == 2
    assert "Errno" not in called.err
    assert f"{tmp_path} cannot be used: Is a directory. Name a file." in called.err
    called = offline("chain", "check", "--file", str(tmp_path / "nothing"), "--json")
    assert called.document["error"]["kind"] == "FileNotFoundError"
    assert "Check the path" in called.document["error"]["message"]


@pytest.mark.parametrize("words", [("spec", "export"), ("export-blocks",)])
def test_a_file_that_cannot_be_written_is_called_by_its_own_name(
    openledger: OpenLedger, words: tuple[str, ...]
) -> None:
    called = openledger("chain", *words, "/nowhere/x")
    assert called.exit_code == 2
    assert "/nowhere/x cannot be used: No such file or directory. Check the path." in called.err
