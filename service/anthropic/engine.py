"""The engine that asks Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from diglot.burst import Burst
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from ..call import Call
from ..capability import Capability
from ..upstream.endpoint import Endpoint, HttpEngine
from ..upstream.exchange import exchange
from ..upstream.name import UpstreamName
from .event_reader import MessageReader
from .refusal import error_of
from .request_json import to_json
from .thinking import Options
from .unsupported import check

# The last version that takes temperature, top_p and top_k. Its successor, 2026-10-21, answers
# 400 to each, and brings nothing that a chat completion could use.
VERSION = "2023-06-01"


@dataclass(frozen=True, slots=True)
class MessagesEndpoint(Endpoint):
    """Where the API is. `base_url` ends before `/v1/messages`."""

    @property
    def url(self) -> str:
        return self.base_url.rstrip("/") + "/v1/messages"


class AnthropicEngine(HttpEngine):
    """Streams from the Messages API, also for unary calls.

    What its API has no word for is refused here (unsupported.py); what only some models take
    (sampling beside thinking, structured answers, the last word to the assistant …) they
    refuse themselves, and their words are passed on.
    """

    capabilities = frozenset(
        {
            Capability.TOOLS,
            Capability.IMAGES,
            Capability.FILES,
            Capability.TOOL_MEDIA,
            Capability.REASONING,
            Capability.SERVICE_TIERS,
        }
    )

    def __init__(
        self, endpoint: MessagesEndpoint, model: str | UpstreamName, options: Options | None = None
    ) -> None:
        super().__init__(endpoint, model)
        self._options = options or Options()

    def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        check(request)
        body = to_json(request, self._model.of(request.model), self._options)
        headers = {
            "anthropic-version": VERSION,
            "X-Request-Id": call.request_id,
            **dict(call.trace),
        }
        if self._endpoint.api_key is not None:
            headers["x-api-key"] = self._endpoint.api_key
        reader = MessageReader(request)
        call.meter.follow(reader.delivered)
        return exchange(self._channel, headers, body, reader, error_of)
