"""The process that runs an embedded model, as its engine sees it; and the usual one: our child."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Protocol

from ..config import EmbeddedModel
from ..model_store import ModelStore
from ..readiness import Readiness
from .child_settings import ChildSettings
from .cores import usable_cores
from .liveness import STALLED_AFTER, STALLED_WITH_IMAGES
from .supervisor import LlamaChild

logger = logging.getLogger("diglot.embedded")

# What each answer may take, where the configuration is silent. Memory for it is taken, and
# zeroed, at the start: more would cost seconds there, and gigabytes with larger models.
CONTEXT_TOKENS = 4096


class ModelProcess(Protocol):
    """Whoever keeps it alive, this is how it is reached."""

    @property
    def readiness(self) -> Readiness:
        """Whether it can answer now."""

    @property
    def base_url(self) -> str:
        """Its API, while it is ready. Changes with each start, as the key does."""

    @property
    def api_key(self) -> str: ...

    @property
    def pid(self) -> int | None:
        """Its process id, while there is one."""

    async def start(self) -> None:
        """Raises ModelStoreError if the model cannot be had."""

    async def close(self) -> None:
        """For who needs it no more. Safe at any time, also before `start`."""


class OwnProcess:
    """A child of ours: fetches the model if need be, and keeps the process alive."""

    def __init__(self, model: EmbeddedModel, store: ModelStore, hang_seconds: float = 30.0) -> None:
        """See `ChildSettings`."""
        self.readiness = Readiness()
        self._model = model
        self._store = store
        self._hang_seconds = hang_seconds
        self._child: LlamaChild | None = None

    @property
    def base_url(self) -> str:
        return self._child.base_url if self._child is not None else ""

    @property
    def api_key(self) -> str:
        return self._child.api_key if self._child is not None else ""

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    async def start(self) -> None:
        """Fetches the model, which can take long, and begins to load it."""
        self.readiness.down("the model is being fetched")
        path = await self._fetched(self._model.source)
        projector = None
        if self._model.projector is not None:
            projector = await self._fetched(self._model.projector)
        self._child = LlamaChild(
            ChildSettings(
                model=path,
                context_tokens=self._model.context_tokens or CONTEXT_TOKENS,
                parallel=self._model.slots,
                threads=self._model.threads or usable_cores(),
                projector=projector,
                hang_seconds=self._hang_seconds,
                stall_seconds=max(
                    STALLED_AFTER if projector is None else STALLED_WITH_IMAGES, self._hang_seconds
                ),
            )
        )
        self.readiness.down("it is being loaded")
        self._child.readiness.subscribe(self._follow)
        await self._child.start()

    async def close(self) -> None:
        self.readiness.down("closed")
        if self._child is not None:
            await self._child.close()

    async def _fetched(self, source: str) -> Path:
        found = self._store.find(source)
        return found or await self._store.pull(source, DownloadLog(source))

    def _follow(self) -> None:
        assert self._child is not None
        if self._child.readiness.ready:
            self.readiness.up()
        else:
            self.readiness.down(self._child.readiness.reason)


def key_of(model: EmbeddedModel, name: str) -> str:
    """What of a model its process depends on, and of whom it is: models do not share one."""
    return json.dumps(
        [name, model.source, model.projector, model.context_tokens, model.parallel, model.threads]
    )


class DownloadLog:
    """Progress of a download as log lines: one for each tenth, or each 100 MB."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._step = -1

    def __call__(self, done: int, total: int | None) -> None:
        step = done * 10 // total if total else done // 10**8
        if step > self._step:
            self._step = step
            extra: dict[str, object] = {"model": self._name, "megabytes": done // 10**6}
            if total:
                extra["percent"] = done * 100 // total
            logger.info("fetching the model", extra=extra)
