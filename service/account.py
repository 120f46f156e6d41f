"""What one call came to, and who is told."""

from __future__ import annotations

import logging
import time

from diglot.v1.completion_pb2 import Usage

from .call import Call

logger = logging.getLogger("diglot.chat")


class Account:
    """What one call came to: a line in the log when it has ended, however it ended."""

    def __init__(self, model: str, call: Call) -> None:
        self.outcome = "cancelled"  # unless something else is said before the end
        self.usage: Usage | None = None
        self._model = model
        self._call = call
        self._start = time.perf_counter()
        self._first: float | None = None

    def began(self) -> None:
        if self._first is None:
            self._first = time.perf_counter()

    def close(self) -> None:
        now = time.perf_counter()
        extra: dict[str, object] = {
            "request_id": self._call.request_id,
            "key": self._call.caller,
            "model": self._model[:100],
            "outcome": self.outcome,
            "ms": round((now - self._start) * 1000, 1),
        }
        if self._first is not None:
            extra["first_chunk_ms"] = round((self._first - self._start) * 1000, 1)
        if self.usage is not None:
            extra["prompt_tokens"] = self.usage.prompt_tokens
            extra["completion_tokens"] = self.usage.completion_tokens
        logger.info("completion", extra=extra)
