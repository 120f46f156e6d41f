"""What a line of the log looks like, for people or for machines; and that no secret is in it.

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
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

_OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_NAMESPACE = "diglot."
_TO_JSON = json.JSONEncoder(ensure_ascii=False).encode
_NUMBERS = frozenset((int, float, bool))
_MILLISECONDS = tuple(f".{number:03}" for number in range(1000))
_SIMPLE = frozenset((str, int, bool))
_QUOTED = re.compile(r'[\s"=]')
# Nearly all words: printed in ASCII, and none of those.
_AS_IT_IS = re.compile(r"[!#-<>-~]+").fullmatch

_SECRETS = re.compile(
    r"\b(?P<id>dg-[0-9a-f]{8}-)[A-Za-z0-9_-]+"
    r"|\b(?P<scheme>bearer\s+)(?!KEY\b)[^\s\"',;\\]+"
    r"|\b(?P<prefix>sk-)[A-Za-z0-9_-]{16,}",
    re.IGNORECASE,
)


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


class _Seconds:
    """Spells times, and each second once: most lines come in the same as the one before."""

    def __init__(self, spell: Callable[[int], str]) -> None:
        self._spell = spell
        # In one piece: two threads may ask.
        self._last = (-1, "")

    def __call__(self, time: float) -> str:
        second = int(time)
        last, spelt = self._last
        if second != last:
            spelt = self._spell(second)
            self._last = (second, spelt)
        return spelt + _MILLISECONDS[int((time - second) * 1000)]


class Form(logging.Formatter):
    """Makes a line of a record, or of what one would hold."""

    def line(
        self,
        created: float,
        level: str,
        logger: str,
        message: str,
        fields: Mapping[str, Any],
        trace: str = "",
    ) -> str:
        """Each form's own, without a line break at its end."""
        raise NotImplementedError

    def format(self, record: logging.LogRecord) -> str:
        trace = _trace(self, record)
        message, fields = message_of(record), _extra(record)
        return self.line(record.created, record.levelname, record.name, message, fields, trace)


class TextFormatter(Form):
    """For people."""

    def __init__(self) -> None:
        super().__init__()
        self._time = _Seconds(
            lambda second: datetime.fromtimestamp(second).strftime("%Y-%m-%d %H:%M:%S")
        )

    def line(
        self,
        created: float,
        level: str,
        logger: str,
        message: str,
        fields: Mapping[str, Any],
        trace: str = "",
    ) -> str:
        logger = logger.removeprefix(_NAMESPACE)
        line = f"{self._time(created)} {level.ljust(7)} {logger}: {_one_line(message)}"
        for key, value in fields.items():
            if type(value) in _NUMBERS or (
                type(value) is str and (value.isidentifier() or _AS_IT_IS(value))
            ):
                line += f" {key}={value}"
            else:
                line += f" {key}={_one_line(_plain(value))}"
        return _writable(f"{line}\n{trace}" if trace else line)


class JsonFormatter(Form):
    """For machines. Whatever is in `extra` comes out, in a JSON that every parser takes."""

    def __init__(self) -> None:
        super().__init__()
        self._time = _Seconds(
            lambda second: datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        )

    def line(
        self,
        created: float,
        level: str,
        logger: str,
        message: str,
        fields: Mapping[str, Any],
        trace: str = "",
    ) -> str:
        entry: dict[str, Any] = {
            "time": f"{self._time(created)}Z",
            "level": level.lower(),
            "logger": logger,
            "message": message,
        }
        for key, value in fields.items():
            entry[key if key not in entry else f"extra.{key}"] = _serialisable(value)
        if trace:
            entry["exception"] = trace
        return _writable(_TO_JSON(entry))


def message_of(record: logging.LogRecord) -> str:
    """The message, also when its arguments do not fit it."""
    try:
        return record.getMessage()
    except Exception:
        return f"{_repr(record.msg)} {_repr(record.args)}"


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _OWN_ATTRIBUTES}


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
