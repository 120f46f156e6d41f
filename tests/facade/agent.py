"""A scripted model for agents: it calls tools as told, and then reads out what they say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from conformance.ways import RecordingEngine

from diglot.burst import Burst
from diglot.service.call import Call
from diglot.v1 import message_pb2 as m
from diglot.v1.chat_pb2 import CreateChatCompletionRequest


class Agent(RecordingEngine):
    """Obeys `scripted` until there are results of tools."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = asyncio.Event()
        """Set when a stream is over, however it ended."""

    async def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        results = [one.content for one in request.messages if one.role == m.ROLE_TOOL]
        if results:
            said = CreateChatCompletionRequest()
            said.CopyFrom(request)
            said.extra_json = json.dumps({"scripted": {"content": ", ".join(results)}})
            request = said
        try:
            async with aclosing(super().stream(request, call)) as bursts:
                async for burst in bursts:
                    yield burst
        finally:
            self.ended.set()
