"""Which version the tables have, as far as that can be told without SQLAlchemy."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from urllib.parse import quote

from .database import Database, SqliteFile

HEAD = "0002"
"""The newest migration."""

VERSION_TABLE = "stored_completion_schema"

READ_VERSION = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608  # a constant of ours


def is_current(database: Database) -> bool:
    """Whether nothing has to be done before the database is used, and nothing speaks against it.

    SQLAlchemy takes longer to import than all else that a server without a model does before
    it is ready. For a file that is as it should be, a look with SQLite alone will do.
    """
    if not isinstance(database, SqliteFile) or not os.access(database.path, os.R_OK | os.W_OK):
        return False
    try:
        url = f"file:{quote(str(database.path))}?mode=rw"
        with closing(sqlite3.connect(url, uri=True, timeout=0)) as connection:
            return connection.execute(READ_VERSION).fetchall() == [(HEAD,)]
    except sqlite3.Error:
        return False  # the opening will say what is wrong
