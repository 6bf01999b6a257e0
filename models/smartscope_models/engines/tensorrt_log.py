"""What TensorRT says while it works: it fails by returning None, and says why only to its log."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

log = logging.getLogger(__name__)

LEVELS = {
    "INTERNAL_ERROR": logging.ERROR,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "INFO": logging.DEBUG,
    "VERBOSE": 0,
}
"""TensorRT's severities as Python's levels; 0 is dropped. Its INFO is chatter to anybody else."""
LINES = 20
"""So many lines are kept for an error message."""


class Log:
    """The one logger of a TensorRT module; TensorRT keeps the first it is given, for the whole process."""

    def __init__(self, module: Any) -> None:
        self._lock = threading.RLock()
        self._lines: deque[str] = deque(maxlen=LINES)
        self.native = _native(module, self._hear)

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Forget what was said before, and let no other thread's words in between."""
        with self._lock:
            self._lines.clear()
            yield

    def said(self) -> str:
        """The errors since ``listen`` began, as one line."""
        return " | ".join(self._lines) or "TensorRT gave no reason"

    def _hear(self, severity: str, message: str) -> None:
        """Called from C++: must not raise."""
        level = LEVELS.get(severity, logging.WARNING)
        if level >= logging.ERROR:
            self._lines.append(message.strip())
        if level:
            log.log(min(level, logging.WARNING), "TensorRT: %s", message.strip())


def _native(module: Any, hear: Any) -> Any:
    class NativeLog(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            hear(severity.name, message)

    return NativeLog()


@cache
def log_of(module: Any) -> Log:
    """The logger of ``module``, made at the first call."""
    return Log(module)
