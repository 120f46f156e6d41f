"""What a vendor says that nobody here knows goes to the caller, and back to the vendor.

The next turn of a conversation, as an application makes it: the answer as it came, and something
more. Gemini refuses that turn without its signatures of calls, and Anthropic, behind OpenRouter,
with any change in the thoughts that it signed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from databases import opened
from google.protobuf.json_format import ParseDict

from diglot.v1 import chat_pb2, message_pb2
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.completion_pb2 import ChatCompletion

from .plain import Json
from .test_vendor_shapes import SHAPES, ReplayEngine, asked, replaying
from .ways import KEY, NAMES, SDK_NAMES, ByChannel, BySdk, Way, arguments, open_way, to_request

each_way = pytest.mark.parametrize("name", NAMES)

SIGNED = {"extra_content": {"google": {"thought_signature": "EjQKMgEM=="}}}
THOUGHT = [{"type": "reasoning.text", "text": "Italy, so", "format": "unknown", "index": 0}]

# Of a shape, what must be in the answer that is sent back, and in what the upstream then gets.
NEEDED: dict[str, Json] = {
    "gemini_tools": {
        "tool_calls": [
            {
                "id": "jm4owj31",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city":"杭州"}'},
                **SIGNED,
            },
            {
                "id": "jm4owj32",
                "type": "function",
                "function": {"name": "time", "arguments": "{}"},
            },
        ]
    },
    "gemini_text": {
        "content": "Rome, of course.",
        "extra_content": {"google": {"thought_signature": "CiIB=="}},
    },
    "openrouter_text": {
        "content": "Rome.",
        "reasoning_content": "Italy, so",
        "reasoning_details": THOUGHT,
    },
}


@asynccontextmanager
async def upstream(name: str, **options: Any) -> AsyncIterator[tuple[Way, list[Json]]]:
    """A way to a vendor, and what that vendor is asked."""
    seen: list[Json] = []
    async with (
        replaying(seen) as base_url,
        open_way(name, engine=ReplayEngine(base_url), **options) as way,
    ):
        yield way, seen


@asynccontextmanager
async def storing(name: str, directory: Path) -> AsyncIterator[tuple[Way, list[Json]]]:
    """As `upstream`, with a store of its own."""
    async with (
        opened(f"sqlite:///{directory}/c.db") as store,
        upstream(name, store=store) as way_and_seen,
    ):
        yield way_and_seen


async def two_turns(way: Way, body: Json, question: Json) -> None:
    """Asks, and asks again with the answer before the question."""
    if isinstance(way, BySdk):
        answer = await way.sdk.chat.completions.create(**arguments(body))
        messages = [*body["messages"], answer.choices[0].message, question]
        await way.sdk.chat.completions.create(**arguments(body | {"messages": messages}))
        return
    assert isinstance(way, ByChannel)
    key: Any = {"metadata": (("authorization", f"Bearer {KEY}"),)}
    request: CreateChatCompletionRequest = to_request(body)
    answered: ChatCompletion = await way.channel.CreateChatCompletion(request, **key)
    request.messages.append(answered.choices[0].message)
    request.messages.append(to_request({**body, "messages": [question]}).messages[0])
    await way.channel.CreateChatCompletion(request, **key)


@each_way
@pytest.mark.parametrize("shape", NEEDED)
async def test_an_answer_goes_back_with_what_it_came_with(name: str, shape: str) -> None:
    body = asked(SHAPES[shape])
    async with upstream(name) as (way, seen):
        await two_turns(way, body, {"role": "user", "content": shape})
    first, second = seen
    assert second["messages"][0] == first["messages"][0]
    sent_back = {key: value for key, value in second["messages"][1].items() if value is not None}
    assert sent_back == {"role": "assistant", **NEEDED[shape]}


def test_the_chunks_of_a_stream_are_sent_back_as_clients_add_them_up() -> None:
    """A client of the stream that does not join thoughts sends the pieces, and so do we."""
    pieces = [{**THOUGHT[0], "text": text} for text in ("Italy,", " so")]
    message = {"role": "assistant", "content": "Rome.", "reasoning_details": pieces}
    request = to_request({"model": "m", "messages": [message]})
    expected = message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, content="Rome.")
    ParseDict({"extraJson": request.messages[0].extra_json}, expected)
    assert request.messages[0] == expected


@pytest.mark.parametrize("name", SDK_NAMES)
async def test_openais_sdk_has_them_as_model_extra(name: str) -> None:
    body = asked(SHAPES["openrouter_text"])
    async with upstream(name) as (way, _):
        assert isinstance(way, BySdk)
        answer = await way.sdk.chat.completions.create(**arguments(body))
        async with await way.sdk.chat.completions.create(
            **arguments(body | {"stream_options": {"include_usage": True}}), stream=True
        ) as stream:
            chunks = [chunk async for chunk in stream]
    assert answer.model_extra == {"provider": "DeepInfra"}
    choice = answer.choices[0]
    assert choice.model_extra == {"native_finish_reason": "MAX_TOKENS"}
    assert choice.message.model_extra is not None
    assert choice.message.model_extra["reasoning_details"] == THOUGHT
    assert answer.usage is not None
    assert answer.usage.model_extra is not None
    assert answer.usage.model_extra["is_byok"] is False
    details = answer.usage.completion_tokens_details
    assert details is not None
    assert details.model_extra == {"image_tokens": 0}

    # Once for each event of the upstream.
    provided = [chunk for chunk in chunks if chunk.model_extra == {"provider": "DeepInfra"}]
    assert len(provided) == len(SHAPES["openrouter_text"].events)
    last = [chunk.choices[0] for chunk in chunks if chunk.choices][-1]
    assert last.model_extra == {"native_finish_reason": "MAX_TOKENS"}
    thoughts = [
        (chunk.choices[0].delta.model_extra or {}).get("reasoning_details", [])
        for chunk in chunks
        if chunk.choices
    ]
    assert [piece["text"] for pieces in thoughts for piece in pieces] == ["Italy,", " so"]


@each_way
async def test_an_upstream_gets_whatever_stands_beside_what_we_know(name: str) -> None:
    cached = {"cache_control": {"type": "ephemeral"}}
    part = {"type": "text", "text": "Be brief.", **cached}
    body = asked(SHAPES["groq_text"], top_k=3)
    body["messages"] = [{"role": "system", "content": [part]}, *body["messages"]]
    body["tools"] = [
        {"type": "function", "function": {"name": "f", "x-internal": [1]}, **cached},
    ]
    body["response_format"] = {"type": "json_object", "schema": {"type": "object"}}
    async with upstream(name) as (way, seen):
        # The answer is none of JSON, which is found out when it has come.
        with pytest.raises(Exception, match="response_format"):
            await way.create(body)
    assert {key: seen[0][key] for key in body if key != "model"} == {
        key: body[key] for key in body if key != "model"
    }


# Types of parts that vLLM, Mistral and others know.
OTHER_PARTS: list[Json] = [
    {"type": "video_url", "video_url": {"url": "https://videos.test/a.mp4", "fps": None}},
    {"type": "audio_url", "audio_url": {"url": "data:audio/ogg;base64,AAAA"}, "uuid": "a1"},
    {"type": "image_embeds", "image_embeds": {"image_embeds": "AA==", "image_grid_thw": "AQ=="}},
    {"type": "input_text", "text": "What is said?", "prompt_cache_breakpoint": {}},
]


@each_way
async def test_parts_of_unknown_types_reach_an_upstream_and_are_stored(
    name: str, tmp_path: Path
) -> None:
    body = asked(SHAPES["openrouter_text"], store=True)
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}], "closed": True}
    said = [{"type": "text", "text": "Which?"}, thought]
    body["messages"] = [
        {"role": "user", "content": [{"type": "text", "text": "Look."}, *OTHER_PARTS]},
        {"role": "assistant", "content": said},
        *body["messages"],
    ]
    async with storing(name, tmp_path) as (way, seen):
        if isinstance(way, BySdk):
            completions = way.sdk.chat.completions
            made = await completions.create(**arguments(body))
            way.sdk._strict_response_validation = False  # its type allows known parts only
            kept = (await completions.messages.list(made.id)).data
            stored = [message.to_dict(warnings=False)["content_parts"] for message in kept]
            assert stored == [body["messages"][0]["content"], said, None]
        else:
            assert isinstance(way, ByChannel)
            key: Any = {"metadata": (("authorization", f"Bearer {KEY}"),)}
            request = to_request(body)
            made = await way.channel.CreateChatCompletion(request, **key)
            asked_with = chat_pb2.ListChatCompletionMessagesRequest(id=made.id)
            found = await way.channel.ListChatCompletionMessages(asked_with, **key)
            assert [each.message for each in found.messages] == list(request.messages)
    assert seen[0]["messages"] == body["messages"]


@each_way
async def test_what_is_stored_has_them(name: str, tmp_path: Path) -> None:
    shape = SHAPES["openrouter_text"]
    body = asked(shape, store=True)
    body["messages"][0]["x-note"] = {"a": [1]}
    async with storing(name, tmp_path) as (way, seen):
        if isinstance(way, BySdk):
            completions = way.sdk.chat.completions
            made = await completions.create(**arguments(body))
            assert await completions.retrieve(made.id) == made
            way.sdk._strict_response_validation = False  # its type allows assistants only
            [message] = (await completions.messages.list(made.id)).data
            assert message.model_extra is not None
            assert message.model_extra["x-note"] == {"a": [1]}
        else:
            assert isinstance(way, ByChannel)
            key: Any = {"metadata": (("authorization", f"Bearer {KEY}"),)}
            made = await way.channel.CreateChatCompletion(to_request(body), **key)
            kept = chat_pb2.GetChatCompletionRequest(id=made.id)
            assert await way.channel.GetChatCompletion(kept, **key) == made
            asked_with = chat_pb2.ListChatCompletionMessagesRequest(id=made.id)
            found = await way.channel.ListChatCompletionMessages(asked_with, **key)
            assert found.messages[0].message.extra_json == '{"x-note":{"a":[1]}}'
    assert seen[0]["messages"] == body["messages"]
