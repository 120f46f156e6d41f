"""The engine that runs a model itself: llama.cpp's server, in a process of ours.

It is an upstream like any other, except that we know its habits, and say honestly what has
become of it when it dies.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from diglot.burst import Burst
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from ..call import Call
from ..capability import Capability
from ..config import EmbeddedModel, MediaSettings
from ..errors import ChatError, EngineLost, NotReady
from ..http import HttpChannel
from ..media import Web, has_images, inline_images
from ..model_store import CATALOGUE
from ..readiness import Readiness
from ..upstream.endpoint import Endpoint
from ..upstream.engine import converse
from ..upstream.request_json import Json
from .answer_form import AnswerForm, grammar_of
from .grammar.limits import Limits
from .llama import LlamaChunkReader, in_turns, to_llama
from .process import ModelProcess
from .sampling import Sampling

_CAPABILITIES = frozenset({Capability.TOOLS})
# Where a form leaves an end open, a small model may not find it.
_GUARDED = Limits(string=200, items=4, calls=2, rounds=3, depth=2)


class EmbeddedEngine:
    """Asks the process that runs the model. Who keeps that alive is the process's matter."""

    def __init__(
        self,
        model: EmbeddedModel,
        process: ModelProcess,
        media: MediaSettings | None = None,
        web: Web | None = None,
    ) -> None:
        self.capabilities = _CAPABILITIES
        if model.projector is not None:
            self.capabilities |= {Capability.IMAGES}
        self._model = model
        self._process = process
        self._media = media or MediaSettings()
        self._web = web or Web()
        self._parallel = model.slots
        known = CATALOGUE.get(model.source)
        self._limits = _GUARDED if known is not None and known.rambles else Limits()
        self._sampling = Sampling.of(model)

    @property
    def readiness(self) -> Readiness:
        return self._process.readiness

    async def start(self) -> None:
        """Returns when the model's file is there: fetching it can take long.

        Raises ModelStoreError if it cannot be had.
        """
        await self._process.start()

    async def close(self) -> None:
        await self._process.close()

    @property
    def child_pid(self) -> int | None:
        """The process that runs the model, while there is one."""
        return self._process.pid

    def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        form = AnswerForm.of(request)
        grammar = grammar_of(form, self._limits)
        if not self.readiness.ready:
            raise NotReady(f"The model is not ready: {self.readiness.reason}.", retry_after=1)
        return self._answers(request, form, grammar, call)

    async def _answers(
        self,
        request: CreateChatCompletionRequest,
        form: AnswerForm,
        grammar: str | None,
        call: Call,
    ) -> AsyncGenerator[Burst, None]:
        if has_images(request):
            # llama.cpp would follow any URL, and decode anything: it gets only what was checked.
            request = await inline_images(request, self._media, self._web)
        body = to_llama(request, form, grammar, self._sampling)
        async with aclosing(
            in_turns(body, self._parallel, self._asking(request, form, call))
        ) as bursts:
            async for burst in bursts:
                yield burst

    def _asking(
        self, request: CreateChatCompletionRequest, form: AnswerForm, call: Call
    ) -> Callable[[Json], AsyncGenerator[Burst, None]]:
        endpoint = Endpoint(self._process.base_url, self._process.api_key)
        # Its port is another one whenever it is started again.
        channel = HttpChannel(endpoint.url, endpoint.connect_timeout, reuse=False)

        def asked(body: Json) -> AsyncGenerator[Burst, None]:
            reader = LlamaChunkReader(request, self._model.name, form)
            return converse(channel, endpoint, body, call, reader, _lost)

        return asked


def _lost() -> ChatError:
    return EngineLost(
        "The model's process ended while it worked on this request. It is being started again; "
        "please send the request again.",
        retry_after=2,
    )
