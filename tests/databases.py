"""What can be done to a store's database from outside while it is used."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import asyncpg

from diglot.service.store import CompletionStore, PostgresUrl, SqliteFile, read_url
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.completion_pb2 import ChatCompletion
from diglot.v1.message_pb2 import ROLE_USER


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[CompletionStore]:
    store = CompletionStore(read_url(url, Path("/")))
    store.start()
    try:
        await store.opened()
        yield store
    finally:
        await store.close()


async def put(
    store: CompletionStore,
    name: str,
    owner: str = "me",
    *,
    created: int = 1,
    asked: str = "m",
    **fields: Any,
) -> ChatCompletion:
    """Stores a completion of this id, and returns it."""
    completion = ChatCompletion(id=name, created=created, **{"model": "m", **fields})
    request = CreateChatCompletionRequest(model=asked, store=True, metadata=completion.metadata)
    request.messages.add(role=ROLE_USER, content=f"asked for {name}")
    await store.add(owner, request, completion)
    return completion


async def rows(url: str, table: str = "stored_completions") -> int:
    """How many the table has, as another program sees it."""
    statement = f"SELECT count(*) FROM {table}"
    database = read_url(url, Path("/"))
    if isinstance(database, SqliteFile):
        with closing(sqlite3.connect(database.path)) as connection:
            (count,) = connection.execute(statement).fetchone()
            assert isinstance(count, int)
            return count
    wire = await asyncpg.connect(url)
    try:
        number = await wire.fetchval(statement)
        assert isinstance(number, int)
        return number
    finally:
        await wire.close()


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[None]:
    """Meanwhile every write waits."""
    database = read_url(url, Path("/"))
    if isinstance(database, SqliteFile):
        with closing(sqlite3.connect(database.path)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            yield
        return
    wire = await asyncpg.connect(url)
    try:
        async with wire.transaction():
            await wire.execute("LOCK TABLE stored_completions IN EXCLUSIVE MODE")
            yield
    finally:
        await wire.close()


async def fill_up(url: str) -> None:
    """From now on nothing can be stored: what a full disk does, by a trigger."""
    database = read_url(url, Path("/"))
    if isinstance(database, PostgresUrl):
        wire = await asyncpg.connect(url)
        await wire.execute(
            """
            CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE 'the disk is full of %', NEW.id USING ERRCODE = 'disk_full'; END $$;
            CREATE TRIGGER full_disk BEFORE INSERT ON stored_completions
            FOR EACH ROW EXECUTE FUNCTION full_disk()
            """
        )
        await wire.close()
        return
    with closing(sqlite3.connect(database.path)) as connection:
        connection.execute(
            """
            CREATE TRIGGER full_disk BEFORE INSERT ON stored_completions
            BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END
            """
        )
