"""What a model's process says of itself."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

logger = logging.getLogger("diglot.embedded")

_LINES = 40
_LONGEST_LINE = 500


class ChildLog:
    """The last lines of one process."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_LINES)

    @property
    def last_lines(self) -> list[str]:
        return list(self._lines)[-5:]

    @property
    def complaint(self) -> str | None:
        """The first thing that llama.cpp itself said was wrong: what follows follows from it."""
        return next((line.partition(" E ")[2] for line in self._lines if " E " in line), None)

    async def read(self, stream: asyncio.StreamReader | None) -> None:
        """Until its end."""
        assert stream is not None, "it is a pipe"
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # longer than the reader's limit; it has dropped it
                continue
            if not line:
                return
            text = line.decode(errors="replace").rstrip()[:_LONGEST_LINE]
            self._lines.append(text)
            logger.debug(text)
