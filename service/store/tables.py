"""The tables: a row for each completion, one for each pair of its metadata, and for some time one
for each completion that is deleted."""

from __future__ import annotations

import re

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)

_ESCAPED = re.compile(r"\\(.)")


class AnyText(TypeDecorator[str]):
    """Text that may hold NUL, which PostgreSQL's cannot: kept as \\0, and a backslash as two."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value and value.replace("\\", "\\\\").replace("\0", "\\0")

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        return value and _ESCAPED.sub(lambda found: "\0" if found[1] == "0" else found[1], value)


_Number = BigInteger().with_variant(Integer, "sqlite")  # all of SQLite's have 64 bits

SCHEMA = MetaData(naming_convention={"pk": "%(table_name)s_pk", "uq": "%(table_name)s_uq"})

COMPLETIONS = Table(
    "stored_completions",
    SCHEMA,
    # The order of insertion, for completions of one second.
    Column("seq", _Number, primary_key=True),
    Column("id", AnyText, nullable=False, unique=True),
    # The id of the key that asked for it.
    Column("owner", AnyText, nullable=False),
    # Unix seconds.
    Column("created", BigInteger, nullable=False),
    Column("asked_model", AnyText, nullable=False),
    Column("model", AnyText, nullable=False),
    # The contract's messages, as they are: nothing is lost, whatever the tables know of it.
    # The metadata has left the completion: it can change.
    Column("completion", LargeBinary, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Index("stored_completions_in_order", "owner", "created", "seq"),
)

METADATA = Table(
    "stored_completion_metadata",
    SCHEMA,
    Column(
        "seq",
        _Number,
        ForeignKey(COMPLETIONS.c.seq, name="of_a_completion", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("key", AnyText, primary_key=True),
    Column("value", AnyText, nullable=False),
    Index("stored_completion_metadata_pairs", "key", "value"),
)

# Nothing of what was said: only where it was in the lists.
DELETIONS = Table(
    "stored_completion_deletions",
    SCHEMA,
    Column("id", AnyText, primary_key=True),
    Column("owner", AnyText, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("seq", _Number, nullable=False),
    # Unix seconds.
    Column("deleted", BigInteger, nullable=False),
    Index("stored_completion_deletions_by_time", "deleted"),
)
