"""Where completions are stored, as the configuration says it."""

from __future__ import annotations

from pathlib import Path

import pytest
from configurations import SECRET, faults

from diglot.service.config import load
from diglot.service.store import PostgresUrl, SqliteFile


def test_completions_are_stored_in_a_file_unless_told_otherwise(file: Path, tmp_path: Path) -> None:
    """Relative paths count from the file's own directory; a URL with a password is elsewhere."""
    url = f"postgresql://me:{SECRET}@host/talks"
    (tmp_path / "url").write_text(f"{url}\n")
    state = tmp_path / "state"
    for text, expected in [
        ("", SqliteFile(state / "completions.db")),
        ("enabled = true", SqliteFile(state / "completions.db")),
        ('url = "sqlite:///kept/c.db"', SqliteFile(tmp_path / "kept/c.db")),
        ('url = "sqlite:////var/c.db"', SqliteFile(Path("/var/c.db"))),
        ('url = "postgresql://me@host/talks"', PostgresUrl("postgresql://me@host/talks")),
        ('url_env = "STORE"', PostgresUrl(url)),
        ('url_file = "url"', PostgresUrl(url)),
    ]:
        file.write_text(f'state = "state"\n[store]\n{text}\n')
        settings = load(file, environ={"STORE": url})
        assert settings.store.database(settings.state) == expected
        for dump in (repr(settings), settings.model_dump_json(), repr(settings.store.database)):
            assert SECRET not in dump


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("enabled = 1", "store.enabled: found 1; it must be true or false"),
        ("max_connections = 0", "store.max_connections: found 0; it must be at least 1"),
        (f'password = "{SECRET}"', "store.password: unknown key"),
        (f'url = "postgresql://me:{SECRET}@h/d"', "store.url: holds a password: use url_env or"),
        (f'url = "postgresql://me@h/d?password={SECRET}"', "store.url: holds a password"),
        (f'url = "mysql://me:{SECRET}@h/d"', "store.url: is of no database that can be used; wri"),
        (f'url = "postgresql://me:{SECRET}@h:x/d"', "store.url: is no URL; write sqlite:///PATH"),
        ('url = ""', "store.url: is of no database that can be used"),
        ('url = "sqlite://"', "store.url: is of no database that can be used"),
        ('url_env = "NOT_SET"', "store.url_env: the environment has no variable NOT_SET; set it"),
        (
            f'url_env = "postgresql://me:{SECRET}@h/d"',
            "store.url_env: must be the NAME of an environment variable",
        ),
        ('url_file = "no"', "store.url_file: cannot read /"),
        ('url_file = "/dev/null"', "store.url_file: the file /dev/null is empty"),
        ('url = "sqlite:///a"\nurl_file = "diglot.toml"', "store.url_file: the file"),
        (
            'url_env = "A"\nurl_file = "/dev/null"',
            "store.url_file: is one too many: url_env is set as well",
        ),
    ],
)
def test_what_is_wrong_with_a_database_is_named(file: Path, text: str, expected: str) -> None:
    (line,) = faults(file, f"[store]\n{text}")
    assert line.startswith(expected)


def test_a_database_is_named_once(file: Path, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"postgresql://me:{SECRET}@host/talks")
    (line,) = faults(file, '[store]\nurl = "sqlite:///a"\nurl_file = "url"')
    assert line == "store.url: is one too many: url_file is set as well"
    (tmp_path / "url").write_text(f"nosql://me:{SECRET}@host/talks")
    (line,) = faults(file, '[store]\nurl_file = "url"')
    assert line.startswith("store.url_file: is of no database that can be used")
