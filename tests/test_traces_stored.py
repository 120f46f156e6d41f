"""Traces of the calls on stored completions, over both faces."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import grpc
import pytest
from collector import collector
from serving import ask
from serving_process import serving

from diglot.v1 import chat_pb2, chat_pb2_grpc

SECRET = "what is stored"


async def over_http(base_url: str, name: str) -> None:
    """Each call once, and one that finds nothing."""
    one = f"chat/completions/{name}"
    async with aiohttp.ClientSession(f"{base_url}/") as http:
        for method, path, body, status in (
            ("GET", one, None, 200),
            ("GET", f"{one}/messages", None, 200),
            ("POST", one, {"metadata": {"a": "b"}}, 200),
            ("GET", "chat/completions", None, 200),
            ("DELETE", one, None, 200),
            ("GET", one, None, 404),
        ):
            async with http.request(method, path, json=body) as response:
                assert response.status == status


async def over_grpc(chat: chat_pb2_grpc.ChatServiceAsyncStub, name: str) -> None:
    """Likewise."""
    await chat.GetChatCompletion(chat_pb2.GetChatCompletionRequest(id=name))
    await chat.ListChatCompletionMessages(chat_pb2.ListChatCompletionMessagesRequest(id=name))
    await chat.UpdateChatCompletion(
        chat_pb2.UpdateChatCompletionRequest(id=name, metadata={"a": "b"})
    )
    await chat.ListChatCompletions(chat_pb2.ListChatCompletionsRequest())
    await chat.DeleteChatCompletion(chat_pb2.DeleteChatCompletionRequest(id=name))
    with pytest.raises(grpc.aio.AioRpcError, match="There is no stored completion"):
        await chat.GetChatCompletion(chat_pb2.GetChatCompletionRequest(id=name))


CALLED = [
    "GetChatCompletion",
    "ListChatCompletionMessages",
    "UpdateChatCompletion",
    "ListChatCompletions",
    "DeleteChatCompletion",
    "GetChatCompletion",
]


async def test_calls_on_stored_completions_are_spans(tmp_path: Path) -> None:
    """Below that of the request, where it came by HTTP; what they are about is in none."""
    file = tmp_path / "diglot.toml"
    async with collector() as there:
        file.write_text(
            f'state = "{tmp_path}"\nauth.enabled = false\ntraces.endpoint = "{there.endpoint}"\n'
            '[[models]]\nkind = "scripted"\n'
        )
        async with (
            serving("--config", str(file)) as server,
            grpc.aio.insecure_channel(server.grpc) as channel,
        ):
            chat = chat_pb2_grpc.ChatServiceStub(channel)
            request = ask(store=True, script={"content": SECRET})
            await over_http(server.http, (await chat.CreateChatCompletion(request)).id)
            await over_grpc(chat, (await chat.CreateChatCompletion(request)).id)
            assert await server.stop() == 0
    names = {f"diglot.v1.ChatService/{method}" for method in CALLED}
    spans = [span for span in there.spans if span.name in names]
    routes = {span.id: span for span in there.spans if "/v1/chat/completions" in span.name}
    assert [span.attributes["rpc.method"] for span in spans] == CALLED * 2
    for span in spans[: len(CALLED)]:
        assert (span.kind, span.trace) == ("internal", routes[span.parent].trace)
    for span in spans[len(CALLED) :]:
        assert (span.kind, span.parent) == ("server", "")
    for last in (spans[len(CALLED) - 1], spans[-1]):
        assert last.attributes["error.type"] == "not_found"
        assert last.failed
    assert [span.failed for span in spans].count(True) == 2
    assert spans[0].attributes["diglot.outcome"] == "ok"
    assert spans[0].attributes["diglot.key"] == "anonymous"
    assert "diglot.model" not in spans[0].attributes
    assert SECRET.encode() not in there.received
