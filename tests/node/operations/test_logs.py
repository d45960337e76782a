"""Logs: one event, one line, the same fields as text and as JSON."""

from __future__ import annotations

import importlib
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from node.operations.config import LogFormat
from node.operations.log_levels import OWN_PACKAGES
from node.operations.logs import set_up


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    importlib.import_module("libp2p")  # which sets up its own logging, once
    names = ("", *OWN_PACKAGES, "p2p.service", "libp2p", "libp2p.transport")
    loggers = [logging.getLogger(name) for name in names]
    former = [(logger, logger.level, logger.propagate) for logger in loggers]
    handlers = loggers[0].handlers[:]
    yield
    for logger, level, propagate in former:
        logger.setLevel(level)
        logger.propagate = propagate
    loggers[0].handlers[:] = handlers


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


def lines_of(levels: str, *names: str) -> list[str]:
    """Log one line of each level from each logger, and return the level and logger of what came."""
    stream = io.StringIO()
    set_up(LogFormat.TEXT, levels, stream)
    for name in names:
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(name).log(level, "event")
    return [" ".join(line.split()[2:4]) for line in stream.getvalue().splitlines()]


LIBRARIES = ("hypercorn.error", "httpx", "zeroconf", "asyncio", "multicodec", "never.heard.of")


@pytest.mark.parametrize("level", ["debug", "info", "warning"])
def test_a_library_is_quiet_at_any_level_of_ours(level: str) -> None:
    expected = [f"{word} {name}" for name in LIBRARIES for word in ("WARNING", "ERROR")]
    assert lines_of(level, *LIBRARIES) == expected


@pytest.mark.parametrize("package", OWN_PACKAGES)
def test_our_modules_log_at_debug_when_asked(package: str) -> None:
    assert len(lines_of("debug", f"{package}.module")) == 4
    assert lines_of("error", f"{package}.module") == [f"ERROR {package}.module"]


def test_a_module_has_a_level_of_its_own() -> None:
    names = ("p2p.service.dialer", "p2p.transport.compat", "node.chain.chain")
    assert lines_of("error,p2p.service=info", *names) == [
        "INFO p2p.service.dialer",
        "WARNING p2p.service.dialer",
        "ERROR p2p.service.dialer",
        "ERROR p2p.transport.compat",
        "ERROR node.chain.chain",
    ]


def test_a_library_that_is_named_logs_though_it_silences_itself() -> None:
    assert lines_of("info", "libp2p.transport.tcp.tcp") == []
    assert len(lines_of("info,libp2p.transport=debug", "libp2p.transport.tcp.tcp")) == 4
