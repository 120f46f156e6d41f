"""Which models there are, and which engine answers for each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from diglot.v1.model_pb2 import Model

from .engine import Engine
from .errors import ModelNotFound


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as callers see it, with the engine behind it."""

    model: Model
    engine: Engine


class Models:
    """The models on offer, in the order of the configuration."""

    def __init__(self, served: Iterable[ServedModel]) -> None:
        self._served = {entry.model.id: entry for entry in served}

    def resolve(self, name: str) -> ServedModel:
        """Raises ModelNotFound."""
        try:
            return self._served[name]
        except KeyError:
            raise ModelNotFound(name) from None

    def all(self) -> list[Model]:
        return [entry.model for entry in self._served.values()]

    @property
    def engines(self) -> list[Engine]:
        return [entry.engine for entry in self._served.values()]

    @property
    def ready(self) -> bool:
        """Whether any model can answer now."""
        return any(engine.readiness.ready for engine in self.engines)

    async def start(self) -> None:
        for engine in self.engines:
            await engine.start()

    async def close(self) -> None:
        for engine in self.engines:
            await engine.close()
