"""PostgreSQL, over asyncpg."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakSet

import asyncpg
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from .database import PostgresUrl
from .faults import FAULTS
from .transactions import PATIENCE

T = TypeVar("T")

_CONNECT = 10  # seconds
_FAREWELL = 1.0
# Seconds that the server has, at the end, to take leave of its connections.


class PostgresTransactions:
    faults = (*FAULTS, asyncpg.PostgresError, asyncpg.InterfaceError)

    def __init__(self, database: PostgresUrl, connections: int) -> None:
        self._connections: WeakSet[Any] = WeakSet()

        async def connection(**options: Any) -> Any:
            # asyncpg reads a URL as libpq does, sslmode and all; SQLAlchemy has a form of its own.
            made = await asyncpg.connect(
                database.url, timeout=_CONNECT, command_timeout=PATIENCE, **options
            )
            self._connections.add(made)
            return made

        self._writing = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=connection,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=PATIENCE,
            pool_pre_ping=True,  # or the first calls after the database's restart would fail
            hide_parameters=True,
        )
        self._reading = self._writing.execution_options(isolation_level="REPEATABLE READ")

    async def read(self, work: Callable[[Connection], T]) -> T:
        async with self._reading.begin() as connection:
            return await connection.run_sync(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        async with self._writing.begin() as connection:
            return await connection.run_sync(work)

    async def close(self) -> None:
        try:
            async with asyncio.timeout(_FAREWELL):
                await self._writing.dispose()
        except TimeoutError:
            for connection in self._connections:
                connection.terminate()
