"""An engine whose calls are spans: so each attempt shows in a trace, the failed ones too."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Set
from contextlib import aclosing
from dataclasses import dataclass, replace

from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue

from diglot.burst import Burst, messages_of
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.completion_pb2 import FinishReason

from ..call import Call
from ..capability import Capability
from ..engine import Engine
from ..errors import ChatError, name_of
from ..readiness import Readiness
from ..upstream.name import UpstreamName
from .tracing import Tracing, context_of, fail

# Another Diglot may know more of them.
_FINISHED = {
    number: name.removeprefix("FINISH_REASON_").lower() for name, number in FinishReason.items()
}


@dataclass(frozen=True, slots=True)
class Provider:
    """Who answers, as the conventions for generative AI describe it."""

    name: str
    """gen_ai.provider.name: whose API it is."""
    model: UpstreamName
    address: str | None = None
    port: int | None = None


class TracedEngine:
    """The engine, which goes on under a span for each call."""

    def __init__(self, engine: Engine, tracing: Tracing, provider: Provider) -> None:
        self.engine = engine
        self._tracing = tracing
        self._provider = provider

    @property
    def readiness(self) -> Readiness:
        return self.engine.readiness

    @property
    def capabilities(self) -> Set[Capability]:
        return self.engine.capabilities

    async def start(self) -> None:
        await self.engine.start()

    async def close(self) -> None:
        await self.engine.close()

    async def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        model = self._provider.model.of(request.model)
        attributes = dict(_asked(request, model, self._provider))
        span = self._tracing.begin_attempt(call, f"chat {model}", attributes)
        heard = _Heard()
        outcome = "cancelled"
        try:
            call = replace(call, trace=context_of(span))
            async with aclosing(self.engine.stream(request, call)) as bursts:
                async for burst in bursts:
                    heard.listen(burst)
                    yield burst
            outcome = "ok"
        except ChatError as error:
            outcome = name_of(error).lower()
            raise
        except Exception:
            outcome = "internal"
            raise
        finally:
            if span.is_recording():
                heard.tell(span)
                fail(span, outcome)
            span.end()


class _Heard:
    """What of an answer is told: not what it says."""

    def __init__(self) -> None:
        self._finished: dict[int, str] = {}
        self._last: ChatCompletionChunk | None = None
        self._usage: ChatCompletionChunk | None = None

    def listen(self, burst: Burst) -> None:
        for chunk in messages_of(burst):
            self._last = chunk
            for choice in chunk.choices:
                if choice.HasField("finish_reason"):
                    self._finished[choice.index] = _FINISHED.get(choice.finish_reason, "other")
            if chunk.HasField("usage"):
                self._usage = chunk

    def tell(self, span: Span) -> None:
        if self._finished:
            reasons = [reason for _, reason in sorted(self._finished.items())]
            span.set_attribute("gen_ai.response.finish_reasons", reasons)
        if self._last is not None:
            # The id that the caller has: the core has filled it in meanwhile.
            span.set_attribute("gen_ai.response.id", self._last.id)
            span.set_attribute("gen_ai.response.model", self._last.model)
        if self._usage is not None:
            usage = self._usage.usage
            span.set_attribute("gen_ai.usage.input_tokens", usage.prompt_tokens)
            span.set_attribute("gen_ai.usage.output_tokens", usage.completion_tokens)


def _asked(
    request: CreateChatCompletionRequest, model: str, provider: Provider
) -> Iterator[tuple[str, AttributeValue]]:
    yield "gen_ai.operation.name", "chat"
    yield "gen_ai.provider.name", provider.name
    yield "gen_ai.request.model", model
    if provider.address is not None:
        yield "server.address", provider.address
        if provider.port is not None:
            yield "server.port", provider.port
    if request.HasField("n") and request.n != 1:
        yield "gen_ai.request.choice.count", request.n
    for field in ("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed"):
        if request.HasField(field):  # one of a few literals
            yield f"gen_ai.request.{field}", getattr(request, field)
    for field in ("max_completion_tokens", "max_tokens"):
        if request.HasField(field):  # type: ignore[arg-type]
            yield "gen_ai.request.max_tokens", getattr(request, field)
            break
