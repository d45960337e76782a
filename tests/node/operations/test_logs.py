"""Logs: one event, one line, the same fields as text and as JSON."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from node.operations.config import LogFormat
from node.operations.logs import set_up


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def logged(log_format: LogFormat, message: str, *arguments: object, **options: Any) -> str:
    stream = io.StringIO()
    set_up(log_format, "info", stream)
    logging.getLogger("node.authoring.author").info(message, *arguments, **options)
    logging.getLogger("node.authoring.author").debug("unseen")
    return stream.getvalue()


def test_a_text_line_has_time_level_logger_and_event() -> None:
    line = logged(LogFormat.TEXT, "block-sealed number=%d", 7)
    assert line.endswith(" INFO node.authoring.author block-sealed number=7\n")
    assert line[:2] == "20"


def test_json_has_the_same_fields() -> None:
    entry = json.loads(logged(LogFormat.JSON, "block-sealed number=%d reason=%r", 7, "it is late"))
    assert entry["event"] == "block-sealed"
    assert (entry["number"], entry["reason"]) == ("7", "it is late")
    assert (entry["level"], entry["logger"]) == ("INFO", "node.authoring.author")
    assert "message" not in entry


@pytest.mark.parametrize(
    "text", ["it's", 'say "yes', "", "a = b", "plain words here", "\n\r\x1b[31m"]
)
@pytest.mark.parametrize("log_format", LogFormat)
def test_any_message_is_one_line(log_format: LogFormat, text: str) -> None:
    line = logged(log_format, "event %s", text)
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert "\x1b" not in line
    assert "\r" not in line
    if log_format is LogFormat.JSON:
        assert json.loads(line)["event"] == "event"


def test_a_field_does_not_replace_those_of_the_line() -> None:
    entry = json.loads(logged(LogFormat.JSON, "event level=low time=never"))
    assert entry["level"] == "INFO"
    assert isinstance(entry["time"], float)


@pytest.mark.parametrize("log_format", LogFormat)
def test_an_exception_is_told_with_its_trace(log_format: LogFormat) -> None:
    error = ValueError("wrong")
    line = logged(log_format, "task-failed", exc_info=error)
    assert "ValueError: wrong" in line


def test_libraries_are_quiet_and_handlers_are_not_doubled() -> None:
    set_up(LogFormat.TEXT, "debug", io.StringIO())
    set_up(LogFormat.TEXT, "debug", io.StringIO())
    assert len(logging.getLogger().handlers) == 1
    assert logging.getLogger("hypercorn").level == logging.WARNING
