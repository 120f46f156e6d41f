"""Where the completions are kept: a file of SQLite's, or a database of PostgreSQL's."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from ..state import absolute


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """A file, which is made if it is not there."""

    path: Path

    def __str__(self) -> str:
        return f"SQLite, {self.path}"


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """A database as libpq spells it; what the URL leaves out, PGHOST and its like may say."""

    url: str = field(repr=False)

    def __str__(self) -> str:
        """Without the user, and whatever else could be a secret."""
        parts = urlsplit(self.url)
        options = dict(parse_qsl(parts.query))
        host = parts.netloc.rpartition("@")[2] or options.get("host", "the default host")
        return f"PostgreSQL, {unquote(parts.path.lstrip('/')) or 'the default'} at {unquote(host)}"

    @property
    def has_password(self) -> bool:
        parts = urlsplit(self.url)
        return bool(parts.password) or "password" in dict(parse_qsl(parts.query))


Database = SqliteFile | PostgresUrl

POSTGRES_SCHEMES = ("postgresql", "postgres")


def read_url(url: str, base: Path) -> Database:
    """`sqlite:///relative`, `sqlite:////absolute` or `postgresql://…`. Relative paths count
    from `base`.

    Raises ValueError, which repeats nothing of the URL: it may hold a password.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # checked only when it is read
    except ValueError:
        raise ValueError("is no URL") from None
    if parts.scheme in POSTGRES_SCHEMES and url.startswith(f"{parts.scheme}://"):
        return PostgresUrl(url)
    path = unquote(parts.path).removeprefix("/")
    if url.startswith("sqlite:///") and path and not parts.query and not parts.fragment:
        return SqliteFile(absolute(path, base))
    raise ValueError("is of no database that can be used")
