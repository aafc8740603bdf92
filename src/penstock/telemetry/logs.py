"""Our own log lines: human on a terminal, JSON elsewhere, and never a flood.

It owns their form. A line is a fixed sentence and fields beside it, so that lines
can be counted by their sentence. What may not be in them: a record's content.
"""

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

# A sentence that comes more often is a state, not news: the first few of a window
# are written, the rest is counted.
BURST_LINES = 5
WINDOW_SECONDS = 10.0
# What a person has asked for, and must hear of: a SIGHUP is no flood.
ALWAYS_FROM = frozenset({"penstock.reloading"})
# Sentences are written in the source, so there are some dozens.
MOST_SENTENCES = 1000

# What a LogRecord has without `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def set_up_logs(
    log_format: str, log_level: str, stream: TextIO | None = None
) -> logging.Handler:
    """Write our log lines to `stream`, stderr if not given; return the handler."""
    target = sys.stderr if stream is None else stream
    is_human = log_format == "human" or (log_format == "auto" and target.isatty())
    handler = logging.StreamHandler(target)
    handler.setFormatter(HumanFormatter() if is_human else JsonFormatter())
    handler.addFilter(RateLimit())
    logger = logging.getLogger("penstock")
    logger.handlers = [handler]
    logger.setLevel(log_level.upper())
    logger.propagate = False
    # asyncio's own complaints are ours to hear of, aiohttp's access log is not.
    asyncio_logger = logging.getLogger("asyncio")
    asyncio_logger.handlers = [handler]
    asyncio_logger.setLevel(logging.WARNING)
    asyncio_logger.propagate = False
    return handler


def set_log_level(log_level: str) -> None:
    """Write our lines from this level on."""
    logging.getLogger("penstock").setLevel(log_level.upper())


class RateLimit(logging.Filter):
    """Lets a sentence pass a few times in a window, then says how many it kept back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._windows: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is written; note on it how many were not."""
        if record.name in ALWAYS_FROM:
            return True
        key = (record.name, str(record.msg))
        now = self._clock()
        started, count = self._windows.get(key, (now, 0))
        if now - started >= WINDOW_SECONDS:
            if count > BURST_LINES:
                record.suppressed_lines = count - BURST_LINES
            started, count = now, 0
        if len(self._windows) >= MOST_SENTENCES:
            self._windows.clear()
        self._windows[key] = (started, count + 1)
        return count < BURST_LINES


class HumanFormatter(logging.Formatter):
    """`12:00:01 warning  a sentence  key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line for a person."""
        when = datetime.fromtimestamp(record.created).astimezone()
        fields = "".join(f"  {key}={value}" for key, value in _fields(record).items())
        line = (
            f"{when:%H:%M:%S} {record.levelname.lower():8}{record.getMessage()}{fields}"
        )
        return f"{line}\n{_traceback(self, record)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["traceback"] = _traceback(self, record)
        return json.dumps(line, default=str)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    assert record.exc_info
    return formatter.formatException(record.exc_info)
