"""What tests serve, and ask with: the scripted model, in the core or behind real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from diglot.service.chat import ChatService
from diglot.service.models import Models, ServedModel
from diglot.service.scripted import ScriptedEngine
from diglot.service.store import CompletionStore
from diglot.service.telemetry.metrics import Metrics
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.message_pb2 import ROLE_USER, Message
from diglot.v1.model_pb2 import Model


def ask(
    content: str = "hello there world",
    *,
    model: str = "scripted",
    script: dict[str, Any] | None = None,
    **fields: Any,
) -> CreateChatCompletionRequest:
    """A request with one user message; `script` tells the scripted model what to do."""
    message = Message(role=ROLE_USER, content=content)
    request = CreateChatCompletionRequest(model=model, messages=[message], **fields)
    if script is not None:
        request.extra_json = json.dumps({"scripted": script})
    return request


class ScriptedChat(ChatService):
    """The core, with the engine at hand for tests that look at it."""

    def __init__(self, store: CompletionStore | None = None) -> None:
        self.engine = ScriptedEngine()
        self.models = Models([ServedModel(Model(id="scripted", owned_by="diglot"), self.engine)])
        self.metrics = Metrics()
        super().__init__(self.models, store, metrics=self.metrics)


@asynccontextmanager
async def scripted_service(store: CompletionStore | None = None) -> AsyncIterator[ScriptedChat]:
    chat = ScriptedChat(store)
    await chat.models.start()
    try:
        yield chat
    finally:
        await chat.models.close()
