"""The processes of the embedded models: the parent's children, lent to all workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from ...config import EmbeddedModel, Settings, places_of
from ...embedded.lent import ProcessNews
from ...embedded.process import ModelProcess, OwnProcess, key_of
from ...model_store import ModelStore
from ...state import MODELS_DIRECTORY

Serials = Mapping[str, int]
"""Which process is whose: from the key of an embedded model to the process's number."""
Make = Callable[[EmbeddedModel], ModelProcess]


@dataclass(frozen=True, slots=True)
class Loans:
    """What some settings need."""

    serials: Serials
    new: tuple[int, ...]
    """Those of them that are to be started."""


class Lending:
    """Each process is kept while the settings name its model, or a worker still uses it.

    `tell` is called whenever it stands differently with one.
    """

    def __init__(self, tell: Callable[[int, ProcessNews], None], make: Make) -> None:
        self._tell = tell
        self._make = make
        self._processes: dict[int, ModelProcess] = {}
        self._holders: dict[int, set[object]] = {}
        self._current: Serials = {}
        self._planned: set[int] = set()
        self._next = 1
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def current(self) -> Serials:
        return self._current

    def plan(self, settings: Settings) -> Loans:
        """To be committed, or abandoned."""
        serials: dict[str, int] = {}
        for model in settings.models:
            for place in places_of(model):
                if not isinstance(place, EmbeddedModel):
                    continue
                key = key_of(place, model.name)
                if key in serials:
                    continue
                if key in self._current:
                    serials[key] = self._current[key]
                    continue
                serial, self._next = self._next, self._next + 1
                serials[key] = serial
                process = self._processes[serial] = self._make(place)
                self._holders[serial] = set()
                process.readiness.subscribe(partial(self._changed, serial))
        new = set(serials.values()) - set(self._current.values())
        self._planned |= new
        return Loans(serials, tuple(sorted(new)))

    async def start(self, loans: Loans) -> None:
        """Starts what is new, which can take long. Raises ModelStoreError."""
        for serial in loans.new:
            await self._processes[serial].start()

    def commit(self, loans: Loans) -> None:
        """What is lent from now on."""
        self._current = loans.serials
        self._planned.difference_update(loans.new)
        self._sweep()

    def abandon(self, loans: Loans) -> None:
        """Nobody uses what was new of it."""
        for serial in loans.new:
            self._holders[serial].clear()
        self._planned.difference_update(loans.new)
        self._sweep()

    def lend(self, serials: Serials, holder: object) -> list[tuple[int, ProcessNews]]:
        """How it stands with what the holder may use from now on."""
        for serial in serials.values():
            self._holders[serial].add(holder)
        return [(serial, self._news(serial)) for serial in serials.values()]

    def returned(self, serial: int, holder: object) -> None:
        self._holders.get(serial, set()).discard(holder)
        self._sweep()

    def ended(self, holder: object) -> None:
        """A holder that has ended holds nothing."""
        for holders in self._holders.values():
            holders.discard(holder)
        self._sweep()

    async def close(self) -> None:
        processes, self._processes = list(self._processes.values()), {}
        await asyncio.gather(*(process.close() for process in processes), *self._closing)

    def _sweep(self) -> None:
        for serial in list(self._processes):
            if serial in self._planned or serial in self._current.values():
                continue
            if self._holders[serial]:
                continue
            del self._holders[serial]
            closing = asyncio.create_task(self._processes.pop(serial).close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _changed(self, serial: int) -> None:
        with suppress(KeyError):  # nobody's any more
            self._tell(serial, self._news(serial))

    def _news(self, serial: int) -> ProcessNews:
        process = self._processes[serial]
        if not process.readiness.ready:
            return ProcessNews(ready=False, reason=process.readiness.reason)
        return ProcessNews(True, "", process.base_url, process.api_key, process.pid)


def own_process(settings: Settings, model: EmbeddedModel) -> ModelProcess:
    store = ModelStore(settings.state / MODELS_DIRECTORY)
    return OwnProcess(model, store, settings.hang_seconds)
