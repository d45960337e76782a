"""The transition table of the engine names every event, its handler, and the actions it emits.

The code is read as text: an action is emitted where its class is called. A handler's actions are
its own and those of the methods that it calls, except methods that have a row themselves.
"""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import get_args

import pytest

from consensus import catchup, engine, messages, state, step_actions

ACTIONS = frozenset(action.__name__ for action in get_args(messages.Action))
MODULES: tuple[ModuleType, ...] = (engine, state, catchup, step_actions)
PARTS = {"_catchup": "Catchup", "state": "ConsensusState", "_state": "ConsensusState"}
"""The attributes by which the engine's classes hold one another."""


@dataclass
class Row:
    event: str
    handler: str
    done: str

    @property
    def actions(self) -> set[str]:
        return set(re.findall(r"\w+", self.done)) & ACTIONS


def rows_of(docstring: str) -> list[Row]:
    """Read the table: a row has its event and handler in its first line."""
    lines = docstring.splitlines()
    start = next(index for index, line in enumerate(lines) if line.strip().startswith("-----"))
    indent = len(lines[start]) - len(lines[start].lstrip())
    rows: list[Row] = []
    for line in lines[start + 1 :]:
        if line and not line.startswith(" " * indent):
            break
        cells = re.split(r"\s{2,}", line.strip())
        if line[indent : indent + 1].strip():
            rows.append(Row(cells[0], cells[1], " ".join(cells[2:])))
        elif line.strip():
            rows[-1].done += " " + line.strip()
    return rows


ROWS = rows_of(inspect.getdoc(engine) or "")
HANDLERS = {
    row.handler: {
        action for other in ROWS if other.handler == row.handler for action in other.actions
    }
    for row in ROWS
}
"""The actions that the rows of each handler name."""


@cache
def methods() -> dict[str, ast.FunctionDef]:
    """All methods of the engine's classes; those of Engine without their class's name."""
    found: dict[str, ast.FunctionDef] = {}
    for module in MODULES:
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef):
                prefix = "" if node.name == "Engine" else f"{node.name}."
                for member in node.body:
                    if isinstance(member, ast.FunctionDef):
                        found[prefix + member.name] = member
    return found


def calls_of(name: str) -> set[str]:
    """The methods of the engine's classes that a method calls."""
    by_last_part: dict[str, set[str]] = {}
    for method in methods():
        by_last_part.setdefault(method.rpartition(".")[2], set()).add(method)
    owner = name.rpartition(".")[0]
    called: set[str] = set()
    for node in ast.walk(methods()[name]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            candidates = by_last_part.get(node.func.attr, set())
            is_own = isinstance(node.func.value, ast.Name) and node.func.value.id == "self"
            own = f"{owner}.{node.func.attr}" if owner else node.func.attr
            called |= {own} & candidates if is_own else candidates
    return called


def emitted_by(name: str) -> set[str]:
    """The actions that a method constructs itself."""
    return {
        node.func.id
        for node in ast.walk(methods()[name])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    } & ACTIONS


def methods_of_row(handler: str) -> set[str]:
    """A handler and the methods that it uses, down to those with rows of their own."""
    reached: set[str] = set()
    waiting = [handler]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += calls_of(name) - HANDLERS.keys()
    return reached


def dispatched() -> dict[str, str]:
    """The handler of each event, as `Engine._apply` matches them."""
    found: dict[str, str] = {}
    match = next(node for node in ast.walk(methods()["_apply"]) if isinstance(node, ast.Match))
    for case in match.cases:
        assert isinstance(case.pattern, ast.MatchClass)
        names = [ast.unparse(case.pattern.cls)]
        for part in case.pattern.patterns:
            if isinstance(part, ast.MatchAs) and isinstance(part.pattern, ast.MatchClass):
                names.append(ast.unparse(part.pattern.cls))
        (call,) = [node.value for node in case.body if isinstance(node, ast.Expr)]
        assert isinstance(call, ast.Call)
        path = ast.unparse(call.func).split(".")[1:]
        found[" ".join(names)] = ".".join(PARTS.get(part, part) for part in path)
    return found


def event_rows() -> dict[str, set[str]]:
    """The handlers of the rows of each event, without the kinds of timers."""
    events = {event.__name__ for event in get_args(messages.Event)}
    found: dict[str, set[str]] = {}
    for row in ROWS:
        words = row.event.split()
        if words[0] in events:
            name = " ".join(words[:2]) if words[0] == "Received" else words[0]
            found.setdefault(name, set()).add(row.handler)
    return found


def test_every_event_and_message_has_a_row_with_its_handler() -> None:
    names = {event.__name__ for event in get_args(messages.Event)} - {"Received"}
    names |= {f"Received {message.__name__}" for message in get_args(messages.Message)}
    assert event_rows().keys() == names
    assert event_rows() == {event: {handler} for event, handler in dispatched().items()}


def test_every_kind_of_timer_has_a_row() -> None:
    named = [row.event.split()[1] for row in ROWS if row.event.startswith("TimedOut ")]
    assert named == [kind.name for kind in messages.TimerKind]


def test_every_handler_of_the_engine_has_a_row() -> None:
    handlers = {name for name in methods() if name.startswith("_on_")}
    assert handlers
    assert handlers <= HANDLERS.keys()


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_row_names_the_actions_that_its_handler_emits(handler: str) -> None:
    assert handler in methods()
    emitted = {action for name in methods_of_row(handler) for action in emitted_by(name)}
    assert HANDLERS[handler] == emitted


def test_no_action_is_emitted_outside_the_table() -> None:
    emitting = {name for name in methods() if emitted_by(name)}
    covered = {name for handler in HANDLERS for name in methods_of_row(handler)}
    assert emitting <= covered
    assert {action for actions in HANDLERS.values() for action in actions} == ACTIONS


def test_a_table_is_read_with_its_continued_lines() -> None:
    lines = ("title", "", "  a  b  c", "  -----  -----  -----", "  Start  _on_start  Sign")
    table = "\n".join((*lines, "                    it", "", "Rules"))
    assert rows_of(table) == [Row("Start", "_on_start", "Sign it")]
