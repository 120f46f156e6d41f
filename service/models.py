"""Which models there are, and which engine answers for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from diglot.v1.model_pb2 import Model

from .admission import Admission
from .engine import Engine
from .errors import ModelNotFound
from .model_names import ModelNames


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as callers see it, with the engine behind it."""

    model: Model
    """Its id may end in *: then it stands for all names that begin so."""
    engine: Engine
    max_completion_tokens: int | None = None
    """The most that a request may ask for, and what one gets that asks for nothing."""
    aliases: tuple[str, ...] = ()
    admission: Admission | None = None
    """Who may be answered now, and who waits. None: everybody may."""
    timeout: float | None = None
    """Seconds that a call may take at most."""

    configured: str = ""
    """What the configuration calls it, where `model.id` is another of its names."""

    @property
    def label(self) -> str:
        """What it is counted under, whatever it was called."""
        return self.configured or self.model.id

    def called(self, name: str) -> ServedModel:
        """The same under another name."""
        model = Model()
        model.CopyFrom(self.model)
        model.id = name
        return replace(self, model=model, aliases=(), configured=self.label)


class Offer:
    """The models of one configuration, and the calls that were admitted under it."""

    def __init__(self, served: Iterable[ServedModel]) -> None:
        self.served = tuple(served)
        self._named: dict[str, ServedModel] = {}
        self._patterns: list[tuple[str, ServedModel]] = []
        for entry in self.served:
            if entry.model.id.endswith("*"):
                self._patterns.append((entry.model.id.removesuffix("*"), entry))
            else:
                self._named[entry.model.id] = entry
            self._named.update((alias, entry.called(alias)) for alias in entry.aliases)
        self._patterns.sort(key=lambda pattern: len(pattern[0]), reverse=True)
        self._calls = 0
        self._idle = asyncio.Event()

    def find(self, name: str, only: ModelNames | None = None) -> ServedModel | None:
        """By its name, an alias, or the longest pattern that fits.

        What is not among `only` is not there.
        """
        if only is not None and name not in only:
            return None
        if entry := self._named.get(name):
            return entry
        for prefix, entry in self._patterns:
            if name.startswith(prefix):
                return entry.called(name)
        return None

    def all(self, only: ModelNames | None = None) -> list[Model]:
        """Each under each of its names. Patterns are not among them: whatever is listed can be
        asked for as it stands. With `only`, nothing else is there."""
        if only is None:
            return [entry.model for entry in self._named.values()]
        named = [entry.model for name, entry in self._named.items() if name in only]
        # A name of the key's that a pattern of the configuration answers to.
        others = (name for name in only.names if name not in self._named and "*" not in name)
        return named + [entry.model for entry in map(self.find, others) if entry is not None]

    def enter(self) -> None:
        """A call is admitted; `leave` when it has ended."""
        self._calls += 1

    def leave(self) -> None:
        self._calls -= 1
        if not self._calls:
            self._idle.set()

    @property
    def busy(self) -> bool:
        return bool(self._calls)

    async def idle(self) -> None:
        """Returns once no call is left."""
        while self._calls:
            self._idle.clear()
            await self._idle.wait()


class Models:
    """The models on offer, in the order of the configuration."""

    def __init__(self, served: Iterable[ServedModel]) -> None:
        self._offer = Offer(served)
        self._earlier: tuple[Offer, ...] = ()
        self._listeners: list[Callable[[], None]] = []
        self._follow()

    def find(self, name: str, only: ModelNames | None = None) -> ServedModel | None:
        return self._offer.find(name, only)

    def resolve(self, name: str, only: ModelNames | None = None) -> ServedModel:
        """Raises ModelNotFound."""
        served = self.find(name, only)
        if served is None:
            raise ModelNotFound(name)
        return served

    def all(self, only: ModelNames | None = None) -> list[Model]:
        return self._offer.all(only)

    @property
    def served(self) -> tuple[ServedModel, ...]:
        return self._offer.served

    @property
    def engines(self) -> list[Engine]:
        return [entry.engine for entry in self._offer.served]

    @property
    def ready(self) -> bool:
        """Whether any model can answer now."""
        return any(engine.readiness.ready for engine in self.engines)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Calls `listener` whenever a model becomes ready or ceases to be, for as long as both
        live."""
        self._listeners.append(listener)

    def enter(self) -> Offer:
        """For a call, what is on offer: it stays as it is until the call leaves it."""
        self._offer.enter()
        return self._offer

    def replace(self, served: Iterable[ServedModel]) -> tuple[Offer, ...]:
        """Offers these from now on. Returns the earlier offers that calls in flight still use."""
        self._earlier = tuple(each for each in (*self._earlier, self._offer) if each.busy)
        for engine in self.engines:
            engine.readiness.unsubscribe(self._tell)
        self._offer = Offer(served)
        self._follow()
        self._tell()
        return self._earlier

    async def start(self) -> None:
        for engine in self.engines:
            await engine.start()

    async def close(self) -> None:
        for engine in self.engines:
            await engine.close()

    def _follow(self) -> None:
        for engine in self.engines:
            engine.readiness.subscribe(self._tell)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
