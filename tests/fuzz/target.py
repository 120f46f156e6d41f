"""What is given spoilt inputs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Fault(AssertionError):
    """Something that must not happen, whatever was sent."""


class Target(Protocol):
    """Ready to be given inputs, from `async with` on."""

    @property
    def seeds(self) -> Sequence[bytes]:
        """Inputs that are good, or nearly so."""

    async def take(self, data: bytes) -> None:
        """Raises Fault, or any exception that is one."""


class Complaints(logging.Handler):
    """What the code under test logs as an error: strangers must not be able to cause it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._lines: list[str] = []
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record)[-2000:])

    def __enter__(self) -> Complaints:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)

    def clear(self) -> None:
        """Forgets what there was."""
        self._lines.clear()

    def check(self) -> None:
        """Raises Fault if there was anything since then."""
        if self._lines:
            raise Fault(f"logged: {self._lines[0]}")


OpenTarget = AbstractAsyncContextManager[Target]
