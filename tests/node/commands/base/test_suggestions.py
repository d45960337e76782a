"""Suggested commands: every message that names a command repeats where the user's own one acts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest

from cli import COMMANDS, root
from node.client.transport_websocket import unreachable
from node.commands.base import suggestions
from node.commands.base.output import Output
from node.devnet import folders
from node.devnet.state import DevnetState, Settings, write_state
from tests.conftest import REPOSITORY
from tests.node.commands.support.calling import OpenLedger

FLOORS: Final = ("node", "genesis", "ml", "p2p")
NAMED: Final = re.compile(rf"(`?)openledger ((?:{'|'.join(COMMANDS)})\b[^`.,;()]*)")
NO_MESSAGES: Final = ("node/demo/", "node/commands/completion.py", "node/commands/devnet/demo.py")
"""The first prints a transcript of commands, the second lines for a shell."""


def messages() -> Iterator[tuple[str, str]]:
    """Every text of the source that is no docstring, with the place of its file."""
    for file in (
        path for floor in FLOORS for path in sorted(Path(REPOSITORY, floor).rglob("*.py"))
    ):
        place = str(file.relative_to(REPOSITORY))
        if place.startswith(NO_MESSAGES):
            continue
        tree = ast.parse(file.read_text())
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        parts = {
            id(value)
            for node in ast.walk(tree)
            if isinstance(node, ast.JoinedStr)
            for value in node.values
        }
        for node in ast.walk(tree):
            if id(node) in docs | parts:
                continue
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield place, node.value
            elif isinstance(node, ast.JoinedStr):
                yield place, "".join(map(_text, node.values))


def _text(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else "X"


SUGGESTED: Final = sorted(
    {
        (place, found[1], found[2].strip())
        for place, text in messages()
        for found in NAMED.finditer(text)
    }
)


def command_of(words: str) -> click.Command:
    context, command = click.Context(root), root
    found: click.Command = command
    for word in words.split():
        if not isinstance(found, click.Group):
            break
        inner = found.get_command(context, word)
        if inner is None:
            break
        found = inner
    return found


def test_the_walk_finds_the_messages_of_devnets_and_commands() -> None:
    places = {place for place, _, _ in SUGGESTED}
    assert {"node/devnet/cluster.py", "node/chain/chain.py"} <= places
    assert len(SUGGESTED) > 30


@pytest.mark.parametrize(
    ("place", "tick", "words"), SUGGESTED, ids=lambda value: str(value).replace("/", ".")
)
def test_a_message_names_a_command_that_is_there_and_repeats_what_was_typed(
    place: str, tick: str, words: str
) -> None:
    command = command_of(words)
    assert tick or place.endswith("write_ahead_log.py"), "put the command between backticks"
    is_whole = not isinstance(command, click.Group) or "X" in words.split()[1:2]
    assert is_whole, f"{words!r} names no command"
    known = {flag for option in command.params for flag in option.opts}
    typed = {flag: f"/other {flag[2:]}" for flag in suggestions.CARRIED}
    typed.pop("--name") if not words.startswith("devnet") else None
    with click.Context(root) as context:
        context.meta[suggestions.__name__] = typed
        completed = suggestions.with_options(f"Run `openledger {words}`.")
    for flag, value in typed.items():
        assert (f"{flag} '{value}'" in completed or flag in words) == (flag in known), completed


def test_the_words_of_a_command_within_stay_behind_the_dashes() -> None:
    with click.Context(root):
        suggestions.remember({"--name": "two"})
        said = suggestions.with_options("Ask `openledger devnet exec 0 -- status --explain`.")
    assert said == "Ask `openledger devnet exec 0 --name two -- status --explain`."


def test_the_name_of_a_node_is_not_the_name_of_a_devnet() -> None:
    with click.Context(root):
        suggestions.remember({"--name": "two"})
        assert suggestions.with_options("`openledger node start`") == "`openledger node start`"


def test_a_message_outside_of_commands_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).note("Run `openledger chain purge`.")
    assert capsys.readouterr().err == "Run `openledger chain purge`.\n"


def test_a_devnet_command_suggests_the_devnet_that_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(folders.ROOT_VARIABLE, str(tmp_path))
    (tmp_path / "nt2").mkdir()
    write_state(tmp_path / "nt2", DevnetState("nt2", Settings(), (), validators=3))
    called = OpenLedger("ws://127.0.0.1:1", tmp_path)(
        "devnet", "up", "--name", "nt2", "--nodes", "2"
    )
    assert called.exit_code == 2
    assert "`openledger devnet down --purge --name nt2`" in called.err


def test_a_folder_of_another_chain_is_purged_where_it_is(tmp_path: Path) -> None:
    openledger = OpenLedger("ws://127.0.0.1:1", tmp_path / "keys")
    spec, base = tmp_path / "spec.json", tmp_path / "base path"
    openledger.json("chain", "spec", "export", str(spec))
    start = (
        "node",
        "start",
        "--chain",
        str(spec),
        "--base-path",
        str(base),
        "--host",
        "no.invalid",
    )
    text = spec.read_text()
    assert openledger(*start).exit_code == 2  # makes the chain, and cannot listen
    spec.write_text(text.replace("10,000,000 OPEN", "9,000,000 OPEN"))
    called = openledger(*start)
    assert "holds the chain with genesis" in called.err
    assert f"`openledger chain purge --base-path '{base}' --chain {spec}`" in called.err


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ws://127.0.0.1:9944", "`openledger dev`"),
        ("ws://localhost:9955", "`openledger dev --port 9955`"),
        ("ws://10.1.2.3:9955", "See that one runs there"),
    ],
)
def test_a_node_that_does_not_answer_is_started_where_it_was_looked_for(
    url: str, said: str
) -> None:
    assert said in str(unreachable(url, OSError("refused")))
