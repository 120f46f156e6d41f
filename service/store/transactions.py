"""What the rest asks of a database: transactions to read in, and to write in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")

PATIENCE = 30
"""Seconds that a statement, or the wait for a connection, may take. A call with less time left
leaves sooner; this is for those without a deadline, and for a database that hangs."""


class Transactions(Protocol):
    """Each runs a plain function over a connection, and not on the event loop's time."""

    @property
    def faults(self) -> tuple[type[Exception], ...]:
        """What is the database's fault, and not ours."""

    async def read(self, work: Callable[[Connection], T]) -> T:
        """All that is read in it is of one moment."""

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Durable once it returns. If it is cancelled, nothing of it was done, but for the
        moment in which it was being committed."""

    async def close(self) -> None:
        """Waits for no transaction, nor for a database that hangs."""
