"""Log lines on standard error, one per event, for people or for machines (`telemetry.log_format`).

A line never holds a value of a row: an exception is told by its class and the places it came through, not by
its text, unless the text is the system's or the configuration's.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from config.errors import ConfigError
from config.settings import Telemetry
from config.words import LogFormat

FRAMES = 12
MAX_LINE = 8192
_TOLD = (OSError, ConfigError, ImportError)
_NOISY = ("asyncio", "aiomysql", "uvicorn", "uvicorn.error")
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(0x80, 0xA0), 0x2028, 0x2029)}

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class _Formatter(logging.Formatter):
    """`who` is the process: `supervisor`, `worker 0`, `admin`."""

    def __init__(self, who: str) -> None:
        super().__init__()
        self.who = who

    def formatException(self, ei: ExceptionInfo) -> str:
        return told(ei[1]) if ei[1] is not None else ""

    def text_of(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += ": " + self.formatException(record.exc_info)
        return text[:MAX_LINE]


class TextFormatter(_Formatter):
    """`2026-01-31T12:00:00.123Z warning worker 0: shard eu-0: …`"""

    def format(self, record: logging.LogRecord) -> str:
        text = self.text_of(record).translate(_ESCAPES)
        return f"{_instant(record)} {record.levelname.lower():7} {self.who}: {text}"


class JsonFormatter(_Formatter):
    """One object per line: time, level, process, module, message, and `fields` of the record's `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _instant(record),
            "level": record.levelname.lower(),
            "process": self.who,
            "pid": record.process,
            "module": record.name,
            "message": self.text_of(record),
        }
        fields = getattr(record, "fields", None)
        return json.dumps({**line, **fields} if isinstance(fields, dict) else line)


def configure(telemetry: Telemetry, who: str) -> None:
    """Sets this process's logging. May be called again, after a fork or a reload."""
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(who) if telemetry.log_format is LogFormat.JSON else TextFormatter(who))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(telemetry.log_level.name)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))


def told(error: BaseException) -> str:
    """'KeyError at worker.py:12 in run, session.py:80 in start': one line, the innermost place last."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    places = ", ".join(f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in frames)
    name = type(error).__name__
    text = f"{name}: {error}" if isinstance(error, _TOLD) else name
    return f"{text} at {places}" if places else text


def _instant(record: logging.LogRecord) -> str:
    instant = datetime.fromtimestamp(record.created, UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
