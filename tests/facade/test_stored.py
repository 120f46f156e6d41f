"""Stored completions over HTTP: paths, queries and JSON. What they mean is the core's."""

from __future__ import annotations

from typing import Any

import pytest

from diglot.v1 import chat_pb2, message_pb2

from .fake import Facade, FakeService, completion, facade

ONE = "/v1/chat/completions/chatcmpl-1"


def serving(**stored: Any) -> FakeService:
    service = FakeService()
    service.stored = stored
    return service


async def error(running: Facade, path: str, method: str = "GET") -> dict[str, Any]:
    code, _, answer = await running.get(path, method)
    return {"status": code, **answer["error"]}


async def test_a_list_has_what_was_asked_for() -> None:
    answer = chat_pb2.ListChatCompletionsResponse(
        completions=[completion(metadata={"k": "v"}), completion()], has_more=True
    )
    answer.completions[1].id = "chatcmpl-2"
    async with facade(serving(ListChatCompletions=answer)) as running:
        code, _, page = await running.get(
            "/v1/chat/completions?after=chatcmpl-0&limit=2&order=desc&model=org/m:q"
            # As OpenAI's SDKs write it: Python's with a plus for a space, Node's without.
            "&metadata%5Ba+b%5D=1+2&metadata%5Bc%20d%5D=%C3%BC&metadata[[e]]=&other=x"
        )
        assert code == 200
        assert list(page) == ["object", "data", "first_id", "last_id", "has_more"]
        assert (page["object"], page["has_more"]) == ("list", True)
        assert (page["first_id"], page["last_id"]) == ("chatcmpl-1", "chatcmpl-2")
        assert [one["object"] for one in page["data"]] == ["chat.completion"] * 2
        assert page["data"][0]["metadata"] == {"k": "v"}
        assert running.service.requests == [
            chat_pb2.ListChatCompletionsRequest(
                after="chatcmpl-0",
                limit=2,
                order=chat_pb2.LIST_ORDER_DESCENDING,
                model="org/m:q",
                metadata={"a b": "1 2", "c d": "ü", "[e]": ""},
            )
        ]


async def test_an_empty_list() -> None:
    """What was not asked for is left to the core."""
    async with facade(serving(ListChatCompletions=chat_pb2.ListChatCompletionsResponse())) as f:
        assert (await f.get("/v1/chat/completions"))[2] == {
            "object": "list",
            "data": [],
            "first_id": None,
            "last_id": None,
            "has_more": False,
        }
        (asked,) = f.service.requests
        assert not asked.HasField("limit")
        assert not asked.HasField("after")
        assert not asked.HasField("model")


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ("limit=ten", "limit", "invalid_type"),
        ("limit=", "limit", "invalid_type"),
        ("limit=1.5", "limit", "invalid_type"),
        ("limit=%D9%A3", "limit", "invalid_type"),  # an Arabic three
        ("order=up", "order", "invalid_value"),
        ("order=", "order", "invalid_value"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", f"{ONE}/messages"])
async def test_a_query_that_is_wrong_is_named(path: str, query: str, param: str, code: str) -> None:
    async with facade() as running:
        found = await error(running, f"{path}?{query}")
        assert (found["status"], found["param"], found["code"]) == (400, param, code)
        assert running.service.calls == ["ListModels"]  # the key is checked, and nothing asked


async def test_metadata_without_a_key_is_no_filter_that_all_pass() -> None:
    async with facade() as running:
        found = await error(running, "/v1/chat/completions?metadata=x")
        assert (found["status"], found["param"]) == (400, "metadata")


@pytest.mark.parametrize("limit", ["2147483648", "-9999999999", "9" * 5000])
async def test_a_limit_that_no_message_could_carry_is_refused_as_it_was_written(limit: str) -> None:
    async with facade() as running:
        found = await error(running, f"/v1/chat/completions?limit={limit}")
        assert (found["status"], found["param"], found["code"]) == (400, "limit", "invalid_value")
        assert f"'limit': {limit[:20]}" in found["message"]
        assert len(found["message"]) < 100
        assert running.service.calls == ["ListModels"]  # for the key


async def test_one_completion() -> None:
    async with facade(serving(GetChatCompletion=completion(metadata={"k": "v"}))) as running:
        code, _, answer = await running.get(ONE)
        assert code == 200
        assert (answer["id"], answer["metadata"]) == ("chatcmpl-1", {"k": "v"})
        assert answer["choices"][0]["message"]["content"] == "hi"
        assert running.service.requests[0].id == "chatcmpl-1"


@pytest.mark.parametrize("metadata", [{"k": "v"}, {}, None])
async def test_an_update_says_all_of_the_new_metadata(metadata: dict[str, str] | None) -> None:
    async with facade(serving(UpdateChatCompletion=completion(metadata=metadata))) as running:
        code, _, answer = await running.ask({"metadata": metadata}, ONE)
        assert code == 200
        assert answer.get("metadata", {}) == (metadata or {})
        assert running.service.requests == [
            chat_pb2.UpdateChatCompletionRequest(id="chatcmpl-1", metadata=metadata)
        ]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "metadata", "missing_required_parameter"),
        ({"metadata": 3}, "metadata", "invalid_type"),
        ({"metadata": {"k": 3}}, "metadata.k", "invalid_type"),
        (b"{", None, None),
        (b"[]", None, None),
    ],
)
async def test_an_update_that_is_wrong_is_named(body: Any, param: str, code: str) -> None:
    async with facade() as running:
        found = await running.refusal(body, path=ONE)
        assert (found["status"], found["param"], found["code"]) == (400, param, code)


async def test_a_deletion() -> None:
    gone = chat_pb2.DeleteChatCompletionResponse(id="chatcmpl-1")
    async with facade(serving(DeleteChatCompletion=gone)) as running:
        assert (await running.get(ONE, "DELETE"))[2] == {
            "object": "chat.completion.deleted",
            "id": "chatcmpl-1",
            "deleted": True,
        }
        assert running.service.requests[0].id == "chatcmpl-1"


def everything_said() -> chat_pb2.ListChatCompletionMessagesResponse:
    answer = chat_pb2.ListChatCompletionMessagesResponse(has_more=True)
    m = message_pb2
    for place, message in enumerate(
        [
            m.Message(role=m.ROLE_USER, content="hi", name="Ann"),
            m.Message(
                role=m.ROLE_USER,
                parts=[
                    m.ContentPart(text=m.TextPart(text="")),
                    m.ContentPart(image_url=m.ImagePart(url="https://x", detail="low")),
                    m.ContentPart(input_audio=m.InputAudioPart(data="AA==", format="wav")),
                    m.ContentPart(
                        file=m.FilePart(file_id="f"),
                        prompt_cache_breakpoint=m.PromptCacheBreakpoint(mode="explicit", ttl="30m"),
                    ),
                ],
            ),
            m.Message(
                role=m.ROLE_ASSISTANT,
                audio=m.Audio(id="a"),
                tool_calls=[m.ToolCall(id="c", function=m.FunctionCall(name="f", arguments="{}"))],
            ),
            m.Message(role=m.ROLE_TOOL, content="2", tool_call_id="c"),
            m.Message(
                role=m.ROLE_ASSISTANT,
                parts=[m.ContentPart(refusal=m.RefusalPart(refusal="no"))],
                refusal="no",
            ),
        ]
    ):
        answer.messages.add(id=f"chatcmpl-1-{place}", message=message)
    return answer


async def test_messages_come_back_as_they_were_sent() -> None:
    async with facade(serving(ListChatCompletionMessages=everything_said())) as running:
        code, _, page = await running.get(f"{ONE}/messages?limit=5&after=chatcmpl-1-9&order=asc")
    assert code == 200
    assert (page["first_id"], page["last_id"]) == ("chatcmpl-1-0", "chatcmpl-1-4")
    assert page["has_more"]
    text, parts, calls, tool, refusal = page["data"]
    assert text == {
        "id": "chatcmpl-1-0",
        "role": "user",
        "content": "hi",
        "refusal": None,
        "annotations": [],
        "name": "Ann",
        "content_parts": None,
    }
    assert parts["content"] is None
    assert parts["name"] is None
    assert parts["content_parts"] == [
        {"type": "text", "text": ""},
        {"type": "image_url", "image_url": {"url": "https://x", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        {
            "type": "file",
            "file": {"file_id": "f"},
            "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"},
        },
    ]
    assert calls["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert calls["audio"] == {"id": "a"}
    assert (tool["role"], tool["content"], tool["tool_call_id"]) == ("tool", "2", "c")
    assert refusal["content_parts"] == [{"type": "refusal", "refusal": "no"}]
    asked = chat_pb2.ListChatCompletionMessagesRequest(
        id="chatcmpl-1", limit=5, after="chatcmpl-1-9", order=chat_pb2.LIST_ORDER_ASCENDING
    )
    assert running.service.requests == [asked]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ONE), ("DELETE", ONE), ("GET", f"{ONE}/messages"), ("GET", "/v1/chat/completions")],
)
async def test_what_the_service_says_no_to(method: str, path: str) -> None:
    async with facade() as running:
        assert await error(running, path, method) == {
            "status": 404,
            "message": "There is nothing.",
            "type": "invalid_request_error",
            "param": "id",
            "code": "not_found",
        }
        running.headers = {"Authorization": "Bearer sk-other"}
        assert (await error(running, path, method))["status"] == 401


async def test_ids_of_all_kinds_reach_the_service_or_no_path() -> None:
    async with facade() as running:
        for spelt, meant in [("%C3%BC", "ü"), ("a%2Fb", "a/b"), ("a%00b", "a\0b"), ("%FF", "%FF")]:
            assert (await error(running, f"/v1/chat/completions/{spelt}"))["status"] == 404
            assert running.service.requests[-1].id in (meant, spelt)
        for path in ("/v1/chat/completions/", f"{ONE}/", f"{ONE}/x"):
            assert (await error(running, path))["code"] == "unknown_url"
