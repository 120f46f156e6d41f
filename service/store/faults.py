"""What can be wrong with a database, in words for its operator: no content, no secrets."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection

from .errors import StoreError

FAULTS = (
    DBAPIError,
    NoConnection,
    # While connecting, the drivers' own come as they are.
    OSError,
    sqlite3.Error,
)
"""And what the transactions have of their own. Everything else is a fault of ours."""


def describe(error: BaseException) -> str:
    """PostgreSQL's texts can quote values, so of its errors only the name and code."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    cause = error.__cause__ or error  # SQLAlchemy wraps asyncpg's
    if isinstance(cause, StoreError | OSError | sqlite3.Error) and str(cause):
        return str(cause)
    code = getattr(cause, "sqlstate", None)
    return f"{type(cause).__name__} ({code})" if code else type(cause).__name__
