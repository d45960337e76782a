"""Logs: one event, one line: a noun-verb name and key=value pairs, as text or as JSON."""

from __future__ import annotations

import importlib
import json
import logging
import re
import shlex
import sys
import time
from typing import Final, TextIO

from node.operations.config import LogFormat
from node.operations.log_levels import OWN_PACKAGES, parse_log_levels

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00.123 INFO node.authoring.author block-sealed number=1`."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(record.created))
        line = f"{moment}.{int(record.msecs):03d} {record.levelname} {record.name} "
        line += _CONTROL.sub(lambda match: repr(match[0])[1:-1], record.getMessage())
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """The same fields as one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        event, _, rest = message.partition(" ")
        fields: dict[str, str] = {}
        try:
            pairs = [word.partition("=") for word in shlex.split(rest)]
        except ValueError:
            pairs = []
        for key, separator, value in pairs:
            if separator:
                fields[key] = value
        entry = {
            **fields,
            "time": record.created,
            "level": record.levelname,
            "logger": record.name,
            "event": event,
        }
        if not pairs or not all(separator for _, separator, _ in pairs):
            entry["message"] = message
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def set_up(log_format: LogFormat, levels: str, stream: TextIO | None = None) -> None:
    """Send all logs to stderr (or a stream) in one format, from the levels that are wanted on.

    A library logs warnings and errors, or what is named of it. Raises LogLevelError.
    """
    wanted = parse_log_levels(levels)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format is LogFormat.JSON else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # A logger that is not named here takes the root's level, and that is every library's.
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[wanted.own]))
    for name in OWN_PACKAGES:
        logging.getLogger(name).setLevel(wanted.own)
    for name, level in wanted.by_logger.items():
        package = name.partition(".")[0]
        if package not in OWN_PACKAGES:
            # Some libraries set up their own logging when they are imported, and libp2p sends its
            # lines nowhere, because any peer can cause them: here an operator asks for them.
            importlib.import_module(package)
            logging.getLogger(package).propagate = True
        logging.getLogger(name).setLevel(level)
