"""The engine that runs a model itself: llama.cpp's server, in a child process of ours.

It is an upstream like any other, except that we start it, know its habits, and say honestly
what has become of it when it dies.
"""

from __future__ import annotations

import asyncio
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
from ..model_store import ModelStore
from ..readiness import Readiness
from ..upstream.chunk_reader import ChunkReader
from ..upstream.engine import Endpoint, converse, open_session
from ..upstream.request_json import Json, to_json
from .capabilities import check

logger = logging.getLogger("diglot.embedded")

# Keys of llama.cpp's own that change sampling and nothing else. Others, some of which reach
# into the server's slots and files, go no further.
VENDOR_KEYS = frozenset(
    "top_k min_p top_n_sigma typical_p repeat_penalty repeat_last_n dry_multiplier dry_base "
    "dry_allowed_length dry_penalty_last_n xtc_probability xtc_threshold mirostat mirostat_tau "
    "mirostat_eta dynatemp_range dynatemp_exponent ignore_eos".split()
)


def to_llama(request: CreateChatCompletionRequest) -> Json:
    """The request as llama.cpp must be asked so that it does what OpenAI's API says."""
    body: dict[str, Any] = {
        key: value
        for key, value in to_json(request).items()
        if key in VENDOR_KEYS or key in request.DESCRIPTOR.fields_by_name
    }
    # Its own default is 0.8.
    body.setdefault("temperature", 1)
    body.setdefault("top_p", 1)
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
