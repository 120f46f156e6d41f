"""SQLite, in threads.

A whole transaction is one errand for a thread. With aiosqlite each statement, fetch and commit
is one, a dozen in a transaction, which was measured to cost four times the processor's time.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError

from .database import SqliteFile
from .faults import FAULTS
from .transactions import PATIENCE

T = TypeVar("T")

# How long SQLite itself waits for another process's lock. It cannot be interrupted meanwhile,
# so the rest of the patience is ours.
_LOCK = 0.5  # seconds


class SqliteTransactions:
    faults = FAULTS

    def __init__(self, database: SqliteFile, connections: int) -> None:
        _make(database)
        self._readers = _Line(database, connections, "store-reader", "BEGIN")
        # SQLite lets one write at a time. Standing in line for the one thread that does it,
        # calls get their turn; at SQLite's own lock they would sleep, and some starve.
        self._writer = _Line(database, 1, "store-writer", "BEGIN IMMEDIATE")

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self._readers.run(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        return await self._writer.run(work)

    async def close(self) -> None:
        self._readers.close()
        self._writer.close()


class _Abandoned(Exception):
    """Nobody waits for the transaction any more."""


class _Line:
    """What stands in it is done by its threads, which have a connection each."""

    def __init__(self, database: SqliteFile, threads: int, name: str, begin: str) -> None:
        self._engine = _engine(database, threads, begin)
        self._threads = ThreadPoolExecutor(threads, name)
        self._closed = threading.Event()

    async def run(self, work: Callable[[Connection], T]) -> T:
        abandoned = threading.Event()
        running = asyncio.get_running_loop().run_in_executor(
            self._threads, self._serve, work, abandoned
        )
        try:
            return await running
        except asyncio.CancelledError:
            abandoned.set()
            raise

    def _serve(self, work: Callable[[Connection], T], abandoned: threading.Event) -> T:
        try:
            return _transact(self._engine, work, abandoned)
        finally:
            # A connection that comes back after close() is closed by who brings it.
            if self._closed.is_set():
                self._engine.pool.dispose()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._closed.set()
        self._engine.pool.dispose()


def _transact(engine: Engine, work: Callable[[Connection], T], abandoned: threading.Event) -> T:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with engine.begin() as connection:
                result = work(connection)
                if abandoned.is_set():
                    raise _Abandoned
            return result
        except (OperationalError, sqlite3.OperationalError) as error:
            if not _is_locked(error) or abandoned.is_set() or time.monotonic() > end:
                raise


def _is_locked(error: OperationalError | sqlite3.OperationalError) -> bool:
    fault = error.orig if isinstance(error, OperationalError) else error
    # The lower byte is the kind of error, whatever more precise ones there are.
    return isinstance(fault, sqlite3.Error) and fault.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _make(database: SqliteFile) -> None:
    """For the owner's eyes only. The files that SQLite puts beside it take after it."""
    database.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(database.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _engine(database: SqliteFile, connections: int, begin: str) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(database.path)),
        connect_args={"timeout": _LOCK},
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        # Transactions are begun below: Python's driver does it too late, and never for reads.
        connection.isolation_level = None
        # Readers and the writer do not wait for each other …
        connection.execute("PRAGMA journal_mode = WAL")
        # … and what was committed survives a power cut, not only the death of the process.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin_now(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
