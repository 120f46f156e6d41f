"""The log: one line per record on standard error, for people or for machines (log_line.py).

What is said on every call goes through `event`: the same line for half of the work.
"""

from __future__ import annotations

import logging
import sys
import time
from contextlib import suppress
from typing import Literal, TextIO

from .log_line import Form, JsonFormatter, TextFormatter, message_of
from .log_stream import LogStream


def configure(
    form: Literal["text", "json"] = "text", level: str = "info", stream: TextIO | None = None
) -> None:
    """Sets the process's log up. Calling again replaces what an earlier call set up."""
    handler = _Handler(stream or sys.stderr, JsonFormatter() if form == "json" else TextFormatter())
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


def event(logger: logging.Logger, message: str, fields: dict[str, object]) -> None:
    """Writes what `logger.info(message, extra=fields)` would. Where nobody but our own handler
    listens there is no record, which costs more than the line that comes of it."""
    if not logger.isEnabledFor(logging.INFO):
        return
    ours = _only_handler(logger)
    if ours is None:
        logger.info(message, extra=fields)
    else:
        ours.event(logger.name, message, fields)


def _only_handler(logger: logging.Logger) -> _Handler | None:
    """Ours, if all that the logger says comes to it and to no other, as it is."""
    if logger.filters or logging.getLogRecordFactory() is not logging.LogRecord:
        return None
    above: logging.Logger | None = logger
    while above is not None and above is not logging.root:
        if above.handlers or not above.propagate:
            return None
        above = above.parent
    if len(logging.root.handlers) != 1:
        return None
    handler = logging.root.handlers[0]
    if not isinstance(handler, _Handler) or handler.filters or handler.level > logging.INFO:
        return None
    return handler


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

    def __init__(self, stream: TextIO | None, form: Form) -> None:
        """None is where standard error is closed."""
        super().__init__()
        self._form = form
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
            self._write(self._form.format(record))
        except Exception:
            self.handleError(record)

    def event(self, logger: str, message: str, fields: dict[str, object]) -> None:
        self.acquire()
        try:
            self._write(self._form.line(time.time(), "INFO", logger, message, fields))
        except Exception:
            self.handleError(logging.makeLogRecord({"name": logger, "msg": message, **fields}))
        finally:
            self.release()

    def flush(self) -> None:
        if self._lines is not None:
            self._lines.flush()

    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()
        super().close()

    def _write(self, line: str) -> None:
        if self._lines is not None:
            self._lines.write(self._spelt(line))
        elif self._text is not None:
            self._text.write(f"{line}\n")
            self._text.flush()

    def _spelt(self, line: str) -> bytes:
        return f"{line}\n".encode(self._encoding, "backslashreplace")

    def _spelt_dropped(self, count: int) -> bytes:
        said = "log lines dropped, as nobody read them"
        return self._spelt(
            self._form.line(time.time(), "WARNING", "diglot.logs", said, {"lines": count})
        )
