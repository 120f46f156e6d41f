"""Stored completions: kept with their requests, in SQLite or PostgreSQL.

What is imported here is light. SQLAlchemy and the rest come with the opening of the database,
in the background, so that a server answers before they are there.
"""

from __future__ import annotations

from .database import Database, PostgresUrl, SqliteFile, read_url
from .errors import StoreError
from .query import Query
from .recording import recorded
from .store import CompletionStore

__all__ = [
    "CompletionStore",
    "Database",
    "PostgresUrl",
    "Query",
    "SqliteFile",
    "StoreError",
    "read_url",
    "recorded",
]
