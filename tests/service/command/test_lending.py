"""The embedded models' processes, and who has them on loan."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from diglot.service.command.workers.lending import Lending
from diglot.service.config import EmbeddedModel, Settings, load
from diglot.service.embedded.lent import ProcessNews
from diglot.service.embedded.process import key_of
from diglot.service.model_store import ModelStoreError
from diglot.service.readiness import Readiness


class Process:
    """Is what a test says that it is."""

    base_url, api_key, pid = "http://127.0.0.1:1/v1", "k", 1

    def __init__(self, fault: Exception | None = None) -> None:
        self.readiness = Readiness()
        self.closed = asyncio.Event()
        self.started = False
        self._fault = fault

    async def start(self) -> None:
        self.started = True
        if self._fault is not None:
            raise self._fault

    async def close(self) -> None:
        self.closed.set()


class Lent:
    """A lending, what it made, and what it told."""

    def __init__(self, directory: Path) -> None:
        self.made: dict[str, Process] = {}
        self.fault: Exception | None = None
        self.told: list[tuple[int, ProcessNews]] = []
        self.lending = Lending(lambda *news: self.told.append(news), self._make)
        self._file = directory / "diglot.toml"

    def _make(self, model: EmbeddedModel) -> Process:
        made = self.made[model.name] = Process(self.fault)
        return made

    def settings(self, *names: str, more: str = "") -> Settings:
        tables = (
            f'[[models]]\nname = "{name}"\nkind = "embedded"\n'
            f'source = "smollm2-135m-instruct"\n{more}\n'
            for name in names
        )
        self._file.write_text("".join(tables))
        return load(self._file)

    async def hold(self, holder: object, *names: str, more: str = "") -> None:
        """These models are served from now on, by that holder."""
        loans = self.lending.plan(self.settings(*names, more=more))
        await self.lending.start(loans)
        self.lending.lend(loans.serials, holder)
        self.lending.commit(loans)

    def serial(self, name: str) -> int:
        (model,) = self.settings(name).models
        assert isinstance(model, EmbeddedModel)
        return self.lending.current[key_of(model, name)]


@asynccontextmanager
async def lent(directory: Path) -> AsyncIterator[Lent]:
    it = Lent(directory)
    try:
        yield it
    finally:
        await it.lending.close()
    assert all(process.closed.is_set() for process in it.made.values())


async def test_a_process_that_nobody_names_goes_when_the_last_has_returned_it(
    tmp_path: Path,
) -> None:
    async with lent(tmp_path) as it:
        await it.hold("worker 1", "a", "b")
        it.lending.lend(it.lending.current, "worker 2")
        serial, process = it.serial("a"), it.made["a"]
        await it.hold("worker 1", "b")
        it.lending.returned(serial, "worker 1")
        await asyncio.sleep(0)
        assert not process.closed.is_set()
        it.lending.ended("worker 2")
        await process.closed.wait()
        assert not it.made["b"].closed.is_set()


async def test_one_that_is_named_is_kept_whoever_ends(tmp_path: Path) -> None:
    async with lent(tmp_path) as it:
        await it.hold("worker 1", "a")
        it.lending.ended("worker 1")
        await asyncio.sleep(0)
        assert not it.made["a"].closed.is_set()


async def test_what_its_process_does_not_know_starts_no_other(tmp_path: Path) -> None:
    async with lent(tmp_path) as it:
        await it.hold("worker 1", "a")
        first, process = it.serial("a"), it.made["a"]
        await it.hold("worker 1", "a", more="temperature = 0.5")
        assert it.made["a"] is process
        await it.hold("worker 1", "a", more="parallel = 2")
        assert it.made["a"] is not process
        assert list(it.lending.current.values()) != [first]


async def test_models_share_none(tmp_path: Path) -> None:
    async with lent(tmp_path) as it:
        await it.hold("worker 1", "a", "b")
        assert it.serial("a") != it.serial("b")


async def test_a_plan_that_comes_to_nothing_leaves_what_was(tmp_path: Path) -> None:
    async with lent(tmp_path) as it:
        await it.hold("worker 1", "a")
        it.fault = ModelStoreError("it cannot be had")
        loans = it.lending.plan(it.settings("a", "new"))
        with pytest.raises(ModelStoreError):
            await it.lending.start(loans)
        it.lending.lend(loans.serials, "worker 1")
        it.lending.abandon(loans)
        await it.made["new"].closed.wait()
        assert list(it.lending.current.values()) == [it.serial("a")]
        assert not it.made["a"].closed.is_set()


async def test_changes_are_told_with_the_key_and_without_it_when_it_is_gone(
    tmp_path: Path,
) -> None:
    async with lent(tmp_path) as it:
        await it.hold("worker 1", "a")
        readiness = it.made["a"].readiness
        readiness.up()
        readiness.down("its process ended")
        up = ProcessNews(
            ready=True, reason="", base_url="http://127.0.0.1:1/v1", api_key="k", pid=1
        )
        down = ProcessNews(ready=False, reason="its process ended")
        assert it.told == [(it.serial("a"), up), (it.serial("a"), down)]
