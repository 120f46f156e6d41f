"""The engine that runs a model itself: llama.cpp's server, in a child process of ours.

It is an upstream like any other, except that we start it, know its habits, and say honestly
what has become of it when it dies.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

import aiohttp

from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk

from ..call import Call
from ..capability import Capability
from ..config import EmbeddedModel, MediaSettings
from ..errors import ChatError, EngineLost, NotReady
from ..media import Web, has_images, inline_images
from ..model_store import CATALOGUE, ModelStore
from ..readiness import Readiness
from ..upstream.engine import Endpoint, converse, open_session
from ..upstream.request_json import Json
from .answer_form import AnswerForm, grammar_of
from .cores import usable_cores
from .grammar.limits import Limits
from .llama import LlamaChunkReader, in_turns, to_llama
from .supervisor import ChildSettings, LlamaChild

logger = logging.getLogger("diglot.embedded")

# What each answer may take, where the configuration is silent. Memory for it is taken, and
# zeroed, at the start: more would cost seconds there, and gigabytes with larger models.
CONTEXT_TOKENS = 4096
PARALLEL = 4

_CAPABILITIES = frozenset({Capability.TOOLS})
# Where a form leaves an end open, a small model may not find it.
_GUARDED = Limits(string=200, items=4, calls=2, rounds=3, depth=2)


class EmbeddedEngine:
    """Fetches the model if need be, keeps its process alive, and asks it."""

    def __init__(
        self,
        model: EmbeddedModel,
        store: ModelStore,
        media: MediaSettings | None = None,
        web: Web | None = None,
    ) -> None:
        self.readiness = Readiness()
        self.capabilities = _CAPABILITIES
        if model.projector is not None:
            self.capabilities |= {Capability.IMAGES}
        self._model = model
        self._store = store
        self._media = media or MediaSettings()
        self._web = web or Web()
        self._parallel = model.parallel or PARALLEL
        known = CATALOGUE.get(model.source)
        self._temperature = _first(model.temperature, known.temperature if known else None, 1.0)
        self._top_p = _first(model.top_p, known.top_p if known else None, 1.0)
        self._limits = _GUARDED if known and known.rambles else Limits()
        self._child: LlamaChild | None = None
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Fetches the model, which can take long, and begins to load it.

        Raises ModelStoreError if it cannot be had.
        """
        self.readiness.down("the model is being fetched")
        path = await self._fetched(self._model.source)
        projector = None
        if self._model.projector is not None:
            projector = await self._fetched(self._model.projector)
        self._session = open_session(connect_timeout=5, reuse=False)
        self._child = LlamaChild(
            ChildSettings(
                model=path,
                context_tokens=self._model.context_tokens or CONTEXT_TOKENS,
                parallel=self._parallel,
                threads=self._model.threads or usable_cores(),
                projector=projector,
            )
        )
        self._child.readiness.subscribe(self._follow)
        await self._child.start()

    async def _fetched(self, source: str) -> Path:
        found = self._store.find(source)
        return found or await self._store.pull(source, DownloadLog(source))

    async def close(self) -> None:
        self.readiness.down("closed")
        if self._child is not None:
            await self._child.close()
        if self._session is not None:
            await self._session.close()

    @property
    def child_pid(self) -> int | None:
        """The process that runs the model, while there is one."""
        return self._child.pid if self._child is not None else None

    def _follow(self) -> None:
        assert self._child is not None
        if self._child.readiness.ready:
            self.readiness.up()
        else:
            self.readiness.down(self._child.readiness.reason)

    def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        form = AnswerForm.of(request)
        grammar = grammar_of(form, self._limits)
        if self._child is None or not self._child.readiness.ready:
            raise NotReady(f"The model is not ready: {self.readiness.reason}.", retry_after=1)
        return self._answers(request, form, grammar, call)

    async def _answers(
        self,
        request: CreateChatCompletionRequest,
        form: AnswerForm,
        grammar: str | None,
        call: Call,
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        if has_images(request):
            # llama.cpp would follow any URL, and decode anything: it gets only what was checked.
            request = await inline_images(request, self._media, self._web)
        body = to_llama(request, form, grammar, temperature=self._temperature, top_p=self._top_p)
        async with aclosing(
            in_turns(body, self._parallel, self._asking(request, form, call))
        ) as chunks:
            async for chunk in chunks:
                yield chunk

    def _asking(
        self, request: CreateChatCompletionRequest, form: AnswerForm, call: Call
    ) -> Callable[[Json], AsyncGenerator[ChatCompletionChunk, None]]:
        child, session = self._child, self._session
        assert child is not None
        assert session is not None
        endpoint = Endpoint(child.base_url, child.api_key)

        def asked(body: Json) -> AsyncGenerator[ChatCompletionChunk, None]:
            reader = LlamaChunkReader(request, self._model.name, form)
            return converse(session, endpoint, body, call, reader, _lost)

        return asked


def _first(*values: float | None) -> float:
    """The first that is set; the last always is."""
    return next(value for value in values if value is not None)


def _lost() -> ChatError:
    return EngineLost(
        "The model's process ended while it worked on this request. It is being started again; "
        "please send the request again.",
        retry_after=2,
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
