"""Opens a database. The store imports this, and with it SQLAlchemy, only then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .database import Database, PostgresUrl
from .errors import StoreError
from .faults import describe
from .migration import migrate
from .rows import Rows
from .transactions import Transactions


@dataclass(frozen=True, slots=True)
class Opened:
    """A database whose tables are up to date."""

    transactions: Transactions
    rows: Rows
    describe: Callable[[BaseException], str] = describe
    """What is wrong with it, for its operator."""


async def open_database(database: Database, connections: int) -> Opened:
    """Raises StoreError."""
    try:
        transactions = _connect(database, connections)
    except OSError as error:
        raise _cannot(database, describe(error)) from error
    try:
        await migrate(transactions, database)
    except BaseException as error:
        await transactions.close()
        if isinstance(error, (StoreError, *transactions.faults)):
            raise _cannot(database, describe(error)) from error
        raise
    return Opened(transactions, Rows(transactions))


def _connect(database: Database, connections: int) -> Transactions:
    """Raises OSError if a file cannot be made. Connects at the first transaction."""
    if isinstance(database, PostgresUrl):
        from .postgres import PostgresTransactions

        return PostgresTransactions(database, connections)
    from .sqlite import SqliteTransactions

    return SqliteTransactions(database, connections)


def _cannot(database: Database, why: str) -> StoreError:
    return StoreError(f"cannot open the database ({database}): {why}")
