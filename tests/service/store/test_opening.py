"""Databases as they are found: empty, current, newer, shared by several, or not to be had."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sqlite3
import stat
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from databases import opened, put, rows
from postgres import PostgresServer
from sqlalchemy import Connection

from diglot.service.errors import StoreUnavailable
from diglot.service.store import (
    CompletionStore,
    PostgresUrl,
    Query,
    SqliteFile,
    StoreError,
    read_url,
)
from diglot.service.store.migration import SCRIPTS
from diglot.service.store.opening import open_database
from diglot.service.store.tables import SCHEMA
from diglot.service.store.version import HEAD, VERSION_TABLE, is_current

SECRET = "s3cret"

# Opens the database as soon as it is told to.
_OPEN = """
import asyncio, sys
from pathlib import Path
from diglot.service.store import read_url
from diglot.service.store.opening import open_database
print("here", flush=True)
sys.stdin.readline()
asyncio.run(open_database(read_url(sys.argv[1], Path("/")), 2))
"""


async def test_the_migrations_make_the_tables_that_the_code_uses(database_url: str) -> None:
    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        found: list[Any] = compare_metadata(context, SCHEMA)
        return found

    database = await open_database(read_url(database_url, Path("/")), 1)
    try:
        assert await database.transactions.read(differences) == []
    finally:
        await database.transactions.close()


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(SCRIPTS)).get_heads() == [HEAD]


async def test_opening_again_changes_nothing(database_url: str) -> None:
    for name in ("a", "b", "c"):
        async with opened(database_url) as store:
            await put(store, name)
    assert await rows(database_url) == 3
    assert await rows(database_url, VERSION_TABLE) == 1


async def test_servers_that_start_together_make_the_tables_once(database_url: str) -> None:
    """Processes of their own, which open the same empty database at the same moment."""
    pipe = asyncio.subprocess.PIPE
    servers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", _OPEN, database_url, stdin=pipe, stdout=pipe, stderr=pipe
        )
        for _ in range(2)
    ]
    for server in servers:
        assert server.stdout is not None
        assert await server.stdout.readline() == b"here\n"
    said = await asyncio.gather(*(server.communicate(b"go\n") for server in servers))
    assert [server.returncode for server in servers] == [0, 0], said
    assert await rows(database_url) == 0
    assert await rows(database_url, VERSION_TABLE) == 1


async def _set_version(url: str, number: str) -> None:
    await _run(url, f"UPDATE {VERSION_TABLE} SET version_num = '{number}'")


async def _run(url: str, statement: str) -> None:
    database = read_url(url, Path("/"))
    if isinstance(database, SqliteFile):
        with closing(sqlite3.connect(database.path)) as connection, connection:
            connection.execute(statement)
        return
    wire = await asyncpg.connect(url)
    await wire.execute(statement)
    await wire.close()


async def test_what_an_older_diglot_has_stored_is_kept(database_url: str) -> None:
    async with opened(database_url) as store:
        kept = [await put(store, name) for name in ("a", "b")]
    await _run(database_url, "DROP TABLE stored_completion_deletions")
    await _set_version(database_url, "0001")
    async with opened(database_url) as store:
        assert [await store.get("me", each.id) for each in kept] == kept
        assert await store.delete("me", "a")
        assert await store.list("me", Query(limit=1, after="a")) == ([kept[1]], False)


async def test_a_newer_diglots_database_is_left_alone(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store, "a")
    await _set_version(database_url, "9999")
    with pytest.raises(StoreError, match="of a newer Diglot"):
        async with opened(database_url):
            pass
    await _set_version(database_url, HEAD)
    async with opened(database_url) as store:
        assert await store.get("me", "a") is not None


async def test_a_file_is_for_its_owner_only(tmp_path: Path) -> None:
    """The conversations in it are nobody else's business."""
    path = tmp_path / "new" / "completions.db"
    mask = os.umask(0)
    try:
        async with opened(f"sqlite:///{path}") as store:
            await put(store, "a")
            files = list(path.parent.iterdir())
            assert {file.name.removeprefix("completions.db") for file in files} >= {"", "-wal"}
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        os.umask(mask)


async def test_what_is_under_way_at_the_end_closes_its_file_itself(tmp_path: Path) -> None:
    """SQLite removes the files that it puts beside a database when nobody has it open."""
    database = await open_database(SqliteFile(tmp_path / "c.db"), 1)
    begun, let_go = threading.Event(), threading.Event()

    def read(connection: Connection) -> bool:
        begun.set()
        return let_go.wait(20)

    reading = asyncio.ensure_future(database.transactions.read(read))
    assert await asyncio.to_thread(begun.wait, 20)
    await database.transactions.close()
    assert len(os.listdir(tmp_path)) > 1
    let_go.set()
    assert await reading
    assert os.listdir(tmp_path) == ["c.db"]


@pytest.mark.parametrize("content", ["a directory", "no database"])
async def test_a_file_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "completions.db"
    if content == "a directory":
        path.mkdir()
    else:
        path.write_text("something else entirely, " * 100)
    with pytest.raises(StoreError) as refused:
        async with opened(f"sqlite:///{path}"):
            pass
    why = {"a directory": "Is a directory", "no database": "file is not a database"}[content]
    assert str(path) in str(refused.value)
    assert why in str(refused.value)


async def test_a_server_that_is_not_there_is_named_without_its_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        url = f"postgresql://someone:{SECRET}@127.0.0.1:{port}/conversations?password={SECRET}"
        with pytest.raises(StoreError) as refused:
            async with opened(url):
                pass
    said = str(refused.value)
    assert f"PostgreSQL, conversations at 127.0.0.1:{port}" in said
    assert "Connection refused" in said or "Connect call failed" in said
    assert SECRET not in said + caplog.text


async def test_a_database_that_is_not_there_is_named(postgres: PostgresServer) -> None:
    url = f"postgresql://postgres@/nowhere?host={postgres.directory}"
    with pytest.raises(StoreError, match=r"InvalidCatalogNameError \(3D000\)"):
        async with opened(url):
            pass


async def test_calls_outlive_a_restart_of_the_server(postgres: PostgresServer) -> None:
    """Connections that died meanwhile are replaced before a call notices."""
    with postgres.database() as url:
        async with opened(url) as store:
            await asyncio.gather(*(put(store, f"c{number}") for number in range(5)))
            postgres.stop()
            postgres.start()
            assert await store.get("me", "c4") is not None
            await put(store, "d")


@pytest.mark.parametrize("asked", [0, 3])
async def test_a_server_that_hangs_keeps_nobody_from_leaving(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, asked: int
) -> None:
    """With calls in the middle of something, or without."""
    monkeypatch.setattr("diglot.service.store.store._LEAVE", 0.1)
    with postgres.database() as url:
        store = CompletionStore(read_url(url, Path("/")))
        store.start()
        await asyncio.gather(*(store.get("me", "c") for _ in range(5)))
        with postgres.frozen():
            calls = [asyncio.ensure_future(store.get("me", "c")) for _ in range(asked)]
            await asyncio.wait((asyncio.ensure_future(store.opened()), *calls), timeout=0.1)
            async with asyncio.timeout(5):
                await store.close()
            await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://a:b@host:5/name?sslmode=require", "PostgreSQL, name at host:5"),
        ("postgres://host", "PostgreSQL, the default at host"),
        ("postgresql://a:b@/name?host=/run/pg&password=c", "PostgreSQL, name at /run/pg"),
        ("postgresql:///", "PostgreSQL, the default at the default host"),
        ("sqlite:////a/b.db", "SQLite, /a/b.db"),
        ("sqlite:///b%20c.db", "SQLite, /base/b c.db"),
    ],
)
def test_a_database_is_shown_without_what_is_secret(url: str, shown: str) -> None:
    database = read_url(url, Path("/base"))
    assert str(database) == shown
    assert "b@" not in repr(database)
    assert "=c" not in repr(database)


@pytest.mark.parametrize(
    ("url", "has_password"),
    [
        ("postgresql://a:b@host/name", True),
        ("postgresql://a@host/name?password=b", True),
        ("postgresql://a:@host/name", False),
        ("postgresql://a@host/name?passfile=/x", False),
    ],
)
def test_a_password_is_noticed(url: str, has_password: bool) -> None:
    database = read_url(url, Path("/"))
    assert isinstance(database, PostgresUrl)
    assert database.has_password is has_password


@pytest.mark.parametrize(
    "url", ["", "x", "sqlite://", "sqlite:///", "sqlite:///a?b=c", "mysql://h/d", "postgresql:x"]
)
def test_other_urls_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|database") as refused:
        read_url(url, Path("/"))
    assert not url or url not in str(refused.value)


async def test_a_store_that_cannot_be_opened_refuses_calls(tmp_path: Path) -> None:
    store = CompletionStore(SqliteFile(tmp_path))
    store.start()
    with pytest.raises(StoreError):
        await store.opened()
    with pytest.raises(Exception, match="cannot be used at the moment"):
        await store.get("me", "a")
    await store.close()


async def test_a_file_that_is_as_it_should_be_keeps_nobody_waiting(tmp_path: Path) -> None:
    """SQLAlchemy is imported afterwards, and calls wait for it."""
    url = f"sqlite:///{tmp_path}/c.db"
    assert not is_current(read_url(url, Path("/")))
    async with opened(url) as store:
        await put(store, "a")
    assert is_current(store.database)
    store.start()
    try:
        async with asyncio.timeout(0):
            await store.opened()
        assert await store.get("me", "a") is not None
    finally:
        await store.close()
    await _set_version(url, "0000")
    assert not is_current(store.database)


async def test_a_database_that_comes_back_is_opened_for_the_calls_that_follow(
    tmp_path: Path,
) -> None:
    path = tmp_path / "c.db"
    path.write_text("something else entirely, " * 100)
    store = CompletionStore(SqliteFile(path))
    store.start()
    try:
        with pytest.raises(StoreError):
            await store.opened()
        path.unlink()
        with pytest.raises(StoreUnavailable):
            await store.get("me", "a")
        await put(store, "a")
        assert await store.get("me", "a") is not None
    finally:
        await store.close()
