"""What was accounted, as the log has it: one line for each call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOGGER = logging.getLogger("diglot.chat")


class AccountLog(logging.Handler):
    """The lines, by request id, as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, dict[str, Any]] = {}
        self._news = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        line = vars(record)
        assert line["request_id"] not in self.lines, "one line for each call"
        self.lines[line["request_id"]] = line
        self._news.set()

    async def line(self, request_id: str) -> dict[str, Any]:
        """The call's, once it is over."""
        while request_id not in self.lines:
            self._news.clear()
            await self._news.wait()
        return self.lines[request_id]


@contextmanager
def account_log() -> Iterator[AccountLog]:
    log = AccountLog()
    level = _LOGGER.level
    _LOGGER.setLevel(logging.INFO)
    _LOGGER.addHandler(log)
    try:
        yield log
    finally:
        _LOGGER.removeHandler(log)
        _LOGGER.setLevel(level)
