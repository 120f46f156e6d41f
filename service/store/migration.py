"""Brings the tables up to date when the database is opened. Several servers may do it at once."""

from __future__ import annotations

import asyncio
import logging
from importlib import import_module
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from .database import Database, PostgresUrl
from .errors import StoreError
from .transactions import Transactions
from .version import HEAD, READ_VERSION, VERSION_TABLE

SCRIPTS = Path(__file__).parent / "migrations"

# Any number that nobody else locks.
_LOCK = 0x6469676C6F74


async def migrate(transactions: Transactions, database: Database) -> None:
    """All or nothing. Raises StoreError if the database is of a newer Diglot."""

    def is_current(connection: Connection) -> bool:
        return version(connection) == HEAD

    def upgrade(connection: Connection) -> None:
        # SQLite's transaction keeps other writers out by itself.
        if isinstance(database, PostgresUrl):
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        _upgrade(connection)

    if not await transactions.read(is_current):
        # Its steps are nobody's news: the store says when it is open.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        # In a thread: it takes a while.
        await asyncio.to_thread(import_module, "alembic.command")
        await transactions.write(upgrade)


def version(connection: Connection) -> str | None:
    """What the database has; None if it is empty."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(READ_VERSION)).scalar_one_or_none()


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config(attributes={"connection": connection, "version_table": VERSION_TABLE})
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    try:
        command.upgrade(config, "head")
    except CommandError:
        raise StoreError("its tables are those of a newer Diglot") from None
