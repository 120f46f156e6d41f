"""The log: one line per record on standard error, for people or for machines.

What a record says besides its message goes into `extra`, and both forms show it:

    log.warning("the engine is gone", extra={"engine": "smollm2", "exit": -9})
    2026-11-22 19:41:14.123 WARNING service.engine: the engine is gone engine=smollm2 exit=-9
    {"time": "2026-11-22T19:41:14.123Z", "level": "warning", …, "engine": "smollm2", "exit": -9}
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from .log_stream import LogStream

_OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_NAMESPACE = "diglot."
_TO_JSON = json.JSONEncoder(ensure_ascii=False).encode
_NUMBERS = frozenset((int, float, bool))
_SIMPLE = frozenset((str, int, bool))
_QUOTED = re.compile(r'[\s"=]')

_SECRETS = re.compile(
    r"\b(?P<id>dg-[0-9a-f]{8}-)[A-Za-z0-9_-]+"
    r"|\b(?P<scheme>bearer\s+)(?!KEY\b)[^\s\"',;\\]+"
    r"|\b(?P<prefix>sk-)[A-Za-z0-9_-]{16,}",
    re.IGNORECASE,
)


def configure(
    form: Literal["text", "json"] = "text", level: str = "info", stream: TextIO | None = None
) -> None:
    """Sets the process's log up. Calling again replaces what an earlier call set up."""
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    for other in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(other)
        other.close()
    root.addHandler(handler)
    # What no line of ours shows costs each of them microseconds to find out.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    setattr(logging, "logAsyncioTasks", False)  # noqa: B010  # new in Python 3.12
    setattr(logging, "_srcfile", None)  # noqa: B010  # as the how-to of `logging` has it
    root.setLevel(level.upper())
    cython = logging.getLogger("grpc._cython.cygrpc")
    if vanished_client not in cython.filters:
        cython.addFilter(vanished_client)


def redact(text: str) -> str:
    """Without the secret part of anything that looks like a key.

    The last line of defence: nothing is meant to log a key in the first place.
    """
    # The expression takes ten times as long to find out that there is nothing. Folded as it
    # ignores case: there are other letters that count as k and s.
    folded = text.casefold()
    if not ("dg-" in folded or "sk-" in folded or "bearer" in folded):
        return text
    return _SECRETS.sub(lambda found: f"{found[found.lastgroup or 0]}[redacted]", text)


def vanished_client(record: logging.LogRecord) -> bool:
    """Refuses the traceback that grpc logs as an error whenever a client hangs up mid-write."""
    error = record.exc_info[1] if record.exc_info else None
    return "ExecuteBatchError" not in f"{type(error).__name__} {message_of(record)}"


def dropped_lines() -> int:
    """How many lines of this process's log were dropped because nobody read them."""
    handlers = logging.getLogger().handlers
    return sum(each.dropped for each in handlers if isinstance(each, _Handler))


class _Handler(logging.Handler):
    """Known from other handlers by its type. Never keeps anybody waiting: see log_stream.py."""

    def __init__(self, stream: TextIO | None) -> None:
        """None is where standard error is closed."""
        super().__init__()
        self._encoding = (stream and stream.encoding) or "utf-8"
        self._text = stream
        self._lines: LogStream | None = None
        if stream is None:
            return
        # What is no file of the system's keeps nobody waiting.
        with suppress(OSError):
            self._lines = LogStream(stream.fileno(), self._spelt_dropped)
            self._text = None

    @property
    def dropped(self) -> int:
        return 0 if self._lines is None else self._lines.dropped

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._lines is not None:
                self._lines.write(self._spelt(record))
            elif self._text is not None:
                self._text.write(f"{self.format(record)}\n")
                self._text.flush()
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        if self._lines is not None:
            self._lines.flush()

    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()
        super().close()

    def _spelt(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode(self._encoding, "backslashreplace")

    def _spelt_dropped(self, count: int) -> bytes:
        record = {"name": "diglot.logs", "levelno": logging.WARNING, "levelname": "WARNING"}
        said = {"msg": "log lines dropped, as nobody read them", "lines": count}
        return self._spelt(logging.makeLogRecord(record | said))


class _Seconds:
    """Spells times, and each second once: most lines come in the same as the one before."""

    def __init__(self, spell: Callable[[int], str]) -> None:
        self._spell = spell
        self._second = -1
        self._spelt = ""

    def __call__(self, time: float) -> str:
        second = int(time)
        if second != self._second:
            self._spelt, self._second = self._spell(second), second
        return f"{self._spelt}.{int((time - second) * 1000):03}"


class TextFormatter(logging.Formatter):
    """For people."""

    def __init__(self) -> None:
        super().__init__()
        self._time = _Seconds(
            lambda second: datetime.fromtimestamp(second).strftime("%Y-%m-%d %H:%M:%S")
        )

    def format(self, record: logging.LogRecord) -> str:
        logger = record.name.removeprefix(_NAMESPACE)
        line = (
            f"{self._time(record.created)} {record.levelname:<7} {logger}: "
            f"{_one_line(message_of(record))}"
        )
        for key, value in _extra(record):
            if type(value) in _NUMBERS:
                line += f" {key}={value}"
            else:
                line += f" {key}={_one_line(_plain(value))}"
        trace = _trace(self, record)
        return _writable(f"{line}\n{trace}" if trace else line)


class JsonFormatter(logging.Formatter):
    """For machines. Whatever is in `extra` comes out, in a JSON that every parser takes."""

    def __init__(self) -> None:
        super().__init__()
        self._time = _Seconds(
            lambda second: datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        )

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": f"{self._time(record.created)}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message_of(record),
        }
        for key, value in _extra(record):
            entry[key if key not in entry else f"extra.{key}"] = _serialisable(value)
        trace = _trace(self, record)
        if trace:
            entry["exception"] = trace
        return _writable(_TO_JSON(entry))


def message_of(record: logging.LogRecord) -> str:
    """The message, also when its arguments do not fit it."""
    try:
        return record.getMessage()
    except Exception:
        return f"{_repr(record.msg)} {_repr(record.args)}"


def _extra(record: logging.LogRecord) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in vars(record).items() if key not in _OWN_ATTRIBUTES]


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info and record.exc_info[0]:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts)


def _plain(value: Any) -> str:
    text = value if isinstance(value, str) else _repr(value)
    return text if text and not _QUOTED.search(text) else _TO_JSON(text)


def _serialisable(value: Any) -> Any:
    if type(value) in _SIMPLE or (type(value) is float and math.isfinite(value)):
        return value
    try:
        json.dumps(value, allow_nan=False)
    except Exception:  # what __repr__ and friends raise is not ours to know
        return _repr(value)
    return value


def _repr(value: Any) -> str:
    try:
        return str(value) if isinstance(value, BaseException) else repr(value)
    except Exception:
        return f"<unprintable {type(value).__name__}>"


def _one_line(text: str) -> str:
    """A caller's line break must not forge a line of the log, nor its escapes paint on it."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _writable(text: str) -> str:
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    return redact(text)
