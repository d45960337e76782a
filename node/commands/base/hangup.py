"""SIGHUP and SIGTERM end a command as Ctrl-C does, so that it puts away what it has begun.

By default either ends the process at once: a closed terminal would leave half-started devnets,
temporary folders and drafts of files behind. A signal that is ignored, as below `nohup`, stays so.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

ENDING: Final = (signal.SIGHUP, signal.SIGTERM)


def heeded(*numbers: signal.Signals) -> tuple[signal.Signals, ...]:
    """Return the signals that whoever started this process does not want ignored."""
    return tuple(number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN)


@contextmanager
def ending_signals_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt in the body when the terminal is closed, or the process is ended."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only
        return
    former = {
        number: signal.signal(number, signal.default_int_handler) for number in heeded(*ENDING)
    }
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
