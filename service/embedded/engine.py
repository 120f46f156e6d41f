"""The engine that runs a model itself: llama.cpp's server, in a child process of ours.

It is an upstream like any other, except that we start it, know its habits, and say honestly
what has become of it when it dies.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp

from diglot.v1 import completion_pb2 as c
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk

from ..call import Call
from ..config import EmbeddedModel
from ..errors import ChatError, EngineLost, NotReady
from ..model_store import CATALOGUE, ModelStore
from ..readiness import Readiness
from ..upstream.chunk_reader import ChunkReader
from ..upstream.engine import Endpoint, converse, open_session
from ..upstream.request_json import Json, to_json
from .capabilities import check
from .cores import usable_cores
from .supervisor import ChildSettings, LlamaChild

logger = logging.getLogger("diglot.embedded")

# Keys of llama.cpp's own that change sampling and nothing else. Others, some of which reach
# into the server's slots and files, go no further.
VENDOR_KEYS = {
    *("top_k", "min_p", "top_n_sigma", "typical_p", "repeat_penalty", "repeat_last_n"),
    *("dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n"),
    *("xtc_probability", "xtc_threshold", "dynatemp_range", "dynatemp_exponent"),
    *("mirostat", "mirostat_tau", "mirostat_eta", "ignore_eos"),
}


def to_llama(request: CreateChatCompletionRequest, *, temperature: float, top_p: float) -> Json:
    """The request as llama.cpp must be asked so that it does what OpenAI's API says.

    `temperature` and `top_p` are for a request that has none: llama.cpp has its own mind there.
    """
    body: dict[str, Any] = {
        key: value
        for key, value in to_json(request).items()
        if key in VENDOR_KEYS or key in request.DESCRIPTOR.fields_by_name
    }
    body.setdefault("temperature", temperature)
    body.setdefault("top_p", top_p)
    if "seed" in body:
        # It cuts seeds to 32 bits and takes the highest of those for "any".
        body["seed"] %= 2**32 - 1
    if request.logprobs:
        # Absent or 0 it takes for 20; the reader cuts what was not asked for.
        body["top_logprobs"] = max(1, request.top_logprobs)
    # It notices that a client has left only when it writes, so let it write while it reads
    # the prompt.
    body["return_progress"] = True
    return body


class LlamaChunkReader(ChunkReader):
    """With n > 1 llama.cpp sends a usage for each choice, of that choice alone."""

    def count(self, usage: c.Usage) -> None:
        if self.usage is not None:
            usage.completion_tokens += self.usage.completion_tokens
            usage.total_tokens = usage.prompt_tokens + usage.completion_tokens
        self.usage = usage


# What each answer may take, where the configuration is silent. Memory for it is taken, and
# zeroed, at the start: more would cost seconds there, and gigabytes with larger models.
CONTEXT_TOKENS = 4096
PARALLEL = 4


class EmbeddedEngine:
    """Fetches the model if need be, keeps its process alive, and asks it."""

    def __init__(self, model: EmbeddedModel, store: ModelStore) -> None:
        self.readiness = Readiness()
        self._model = model
        self._store = store
        self._parallel = model.parallel or PARALLEL
        known = CATALOGUE.get(model.source)
        self._temperature = _first(model.temperature, known.temperature if known else None, 1.0)
        self._top_p = _first(model.top_p, known.top_p if known else None, 1.0)
        self._child: LlamaChild | None = None
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Fetches the model, which can take long, and begins to load it.

        Raises ModelStoreError if it cannot be had.
        """
        self.readiness.down("the model is being fetched")
        path = self._store.find(self._model.source)
        if path is None:
            path = await self._store.pull(self._model.source, DownloadLog(self._model.source))
        self._session = open_session(connect_timeout=5, reuse=False)
        self._child = LlamaChild(
            ChildSettings(
                model=path,
                context_tokens=self._model.context_tokens or CONTEXT_TOKENS,
                parallel=self._parallel,
                threads=self._model.threads or usable_cores(),
            )
        )
        self._child.readiness.subscribe(self._follow)
        await self._child.start()

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
        check(request, parallel=self._parallel)
        child, session = self._child, self._session
        if child is None or session is None or not child.readiness.ready:
            reason = child.readiness.reason if child is not None else self.readiness.reason
            raise NotReady(f"The model is not ready: {reason}.", retry_after=1)
        # Each call on a connection of its own: llama.cpp closes them after a stream, and a
        # request that is sent into that is lost.
        endpoint = Endpoint(child.base_url, child.api_key)
        reader = LlamaChunkReader(request, self._model.name)
        body = to_llama(request, temperature=self._temperature, top_p=self._top_p)
        return converse(session, endpoint, body, call, reader, _lost)


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
