"""PostgreSQL, over asyncpg."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from .database import PostgresUrl
from .faults import FAULTS
from .transactions import PATIENCE

T = TypeVar("T")

_CONNECT = 10  # seconds


class PostgresTransactions:
    faults = (*FAULTS, asyncpg.PostgresError, asyncpg.InterfaceError)

    def __init__(self, database: PostgresUrl, connections: int) -> None:
        async def connection(**options: Any) -> Any:
            # asyncpg reads a URL as libpq does, sslmode and all; SQLAlchemy has a form of its own.
            return await asyncpg.connect(
                database.url, timeout=_CONNECT, command_timeout=PATIENCE, **options
            )

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
        await self._writing.dispose()
