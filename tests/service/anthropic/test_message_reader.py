"""What the Messages API sends, and what it becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages_server import (
    MODEL,
    PING,
    STOP,
    block,
    error,
    sse,
    start,
    stopped,
    text,
    thinking,
    tool_use,
)

from diglot.service import errors
from diglot.service.anthropic.event_reader import MessageReader
from diglot.service.upstream.sse import EventReader
from diglot.v1 import completion_pb2 as c
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.tool_pb2 import ToolChoice

Json = dict[str, Any]

STOPPED = c.FINISH_REASON_STOP
LENGTH = c.FINISH_REASON_LENGTH
TOOLS = c.FINISH_REASON_TOOL_CALLS
FILTERED = c.FINISH_REASON_CONTENT_FILTER


def read(
    *events: Json, request: CreateChatCompletionRequest | None = None
) -> list[ChatCompletionChunk]:
    """The chunks of a stream of such events, as they would come over the wire."""
    return read_data(*EventReader().feed(sse(*events)), request=request)


def read_data(
    *data: bytes, request: CreateChatCompletionRequest | None = None
) -> list[ChatCompletionChunk]:
    reader = MessageReader(request or CreateChatCompletionRequest())
    return [*reader.read(data), *reader.end()]


def short(chunk: ChatCompletionChunk) -> Any:
    """The one thing that a chunk says."""
    if chunk.HasField("usage"):
        assert not chunk.choices
        return ("usage", chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
    (choice,) = chunk.choices
    assert choice.index == 0
    delta = choice.delta
    if delta.HasField("extra_json"):
        return ("extra", *json.loads(delta.extra_json))
    if choice.HasField("finish_reason"):
        assert delta.ByteSize() == 0
        return ("finish", choice.finish_reason)
    if delta.HasField("role"):
        return ("role", delta.content if delta.HasField("content") else None)
    if delta.HasField("reasoning_content"):
        return ("thought", delta.reasoning_content)
    if delta.tool_calls:
        (piece,) = delta.tool_calls
        if piece.HasField("id"):
            assert piece.function.arguments == ""
            return ("call", piece.index, piece.id, piece.function.name)
        assert not piece.function.HasField("name")
        return ("args", piece.index, piece.function.arguments)
    return ("text", delta.content)


USAGE = ("usage", 25, 15)

STREAMS: dict[str, tuple[list[Json], list[Any]]] = {
    "text": (
        [start(), PING, *text(0, "Hel", "lo"), *stopped("end_turn")],
        [("role", ""), ("text", "Hel"), ("text", "lo"), ("finish", STOPPED), USAGE],
    ),
    "thought, then text": (
        [start(), *thinking(0, "Hm", "m."), *text(1, "Hi"), *stopped("end_turn")],
        [
            ("role", ""),
            ("thought", "Hm"),
            ("thought", "m."),
            ("text", "Hi"),
            ("extra", "thinking_blocks"),
            ("finish", STOPPED),
            USAGE,
        ],
    ),
    "thought that is not shown": (
        [
            start(),
            *thinking(0),
            *block(1, {"type": "redacted_thinking", "data": "Eo8B"}),
            *text(2, "Hi"),
            *stopped("end_turn"),
        ],
        [("role", ""), ("text", "Hi"), ("extra", "thinking_blocks"), ("finish", STOPPED), USAGE],
    ),
    "text, then calls": (
        [
            start(),
            *text(0, "Let me see."),
            *tool_use(1, "toolu_1", "f", "", '{"x"', ": 1}"),
            *tool_use(2, "toolu_2", "g"),
            *stopped("tool_use"),
        ],
        [
            ("role", ""),
            ("text", "Let me see."),
            ("call", 0, "toolu_1", "f"),
            ("args", 0, '{"x"'),
            ("args", 0, ": 1}"),
            ("call", 1, "toolu_2", "g"),
            ("args", 1, "{}"),
            ("finish", TOOLS),
            USAGE,
        ],
    ),
    "a call only": (
        [start(), *tool_use(0, "toolu_1", "f", "{}"), *stopped("tool_use")],
        [("role", None), ("call", 0, "toolu_1", "f"), ("args", 0, "{}"), ("finish", TOOLS), USAGE],
    ),
    "a call that comes whole": (
        [
            start(),
            *block(0, {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}}),
            *stopped("tool_use"),
        ],
        [("role", None), ("call", 0, "t", "f"), ("args", 0, '{"x": 1}'), ("finish", TOOLS), USAGE],
    ),
    "a call that is cut keeps what it has": (
        [start(), *tool_use(0, "t", "f", '{"x'), *stopped("max_tokens")],
        [("role", None), ("call", 0, "t", "f"), ("args", 0, '{"x'), ("finish", LENGTH), USAGE],
    ),
    "blocks that are not known": (
        [
            start(),
            *block(
                0,
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                {"type": "input_json_delta", "partial_json": '{"query": "x"}'},
            ),
            *text(1, "Hi"),
            *stopped("end_turn"),
        ],
        [("role", ""), ("text", "Hi"), ("finish", STOPPED), USAGE],
    ),
    "nothing to say": (
        [start(), *stopped("end_turn")],
        [("role", ""), ("finish", STOPPED), USAGE],
    ),
    "no last event": (
        [start(), *text(0, "Hi"), stopped("end_turn")[0]],
        [("role", ""), ("text", "Hi"), ("finish", STOPPED), USAGE],
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_what_it_becomes(name: str) -> None:
    events, expected = STREAMS[name]
    chunks = read(*events)
    assert [short(chunk) for chunk in chunks] == expected
    assert {chunk.model for chunk in chunks} == {MODEL}


@pytest.mark.parametrize(
    ("stop_reason", "expected"),
    [
        ("end_turn", STOPPED),
        ("stop_sequence", STOPPED),
        ("pause_turn", STOPPED),
        ("max_tokens", LENGTH),
        ("model_context_window_exceeded", LENGTH),
        ("refusal", FILTERED),
        ("tool_use", STOPPED),  # it called nothing
    ],
)
def test_why_it_stopped(stop_reason: str, expected: int) -> None:
    chunk = read(start(), *text(0, "Hi"), *stopped(stop_reason))[-2]
    assert chunk.choices[0].finish_reason == expected


def test_a_call_of_the_named_tool_is_a_stop() -> None:
    """As OpenAI has it."""
    request = CreateChatCompletionRequest(tool_choice=ToolChoice(function_name="f"))
    events = [start(), *tool_use(0, "t", "f", "{}"), *stopped("tool_use")]
    assert read(*events, request=request)[-2].choices[0].finish_reason == STOPPED


def test_what_it_cost() -> None:
    """The prompt is what was read afresh, from the cache, and into it; the last numbers count."""
    begun = start(
        cache_read_input_tokens=100, cache_creation_input_tokens=7, service_tier="standard"
    )
    details = {"output_tokens_details": {"thinking_tokens": 30}}
    chunks = read(begun, *text(0, "Hi"), *stopped("end_turn", output_tokens=42, **details))
    assert chunks[-1].usage == c.Usage(
        prompt_tokens=132,
        completion_tokens=42,
        total_tokens=174,
        prompt_tokens_details=c.PromptTokensDetails(cached_tokens=100, cache_write_tokens=7),
        completion_tokens_details=c.CompletionTokensDetails(reasoning_tokens=30),
    )
    assert {chunk.service_tier for chunk in chunks[:-1]} == {"default"}


def test_numbers_at_the_end_win_over_those_at_the_start() -> None:
    """They are of the whole; those that did not change may be absent, or null."""
    usage = {"input_tokens": 30, "cache_read_input_tokens": None}
    chunks = read(start(cache_read_input_tokens=5), *stopped("end_turn", **usage))
    assert chunks[-1].usage.prompt_tokens == 35


def test_without_numbers_there_is_no_usage() -> None:
    bare = json.dumps({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}).encode()
    assert [short(chunk) for chunk in read_data(bare)] == [("role", ""), ("finish", STOPPED)]


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ([start(), *text(0, "Hi")], errors.UpstreamUnavailable),
        ([start()], errors.UpstreamUnavailable),
        ([], errors.UpstreamUnavailable),
        ([start(), *text(0, "Hi"), STOP], errors.UpstreamInvalid),
        ([start(), error("overloaded_error", "Overloaded")], errors.UpstreamUnavailable),
        ([start(), error("timeout_error", "Slow")], errors.UpstreamUnavailable),
        ([start(), error("api_error", "Oops")], errors.UpstreamInvalid),
        ([start(), error("rate_limit_error", "Slow down")], errors.RateLimited),
        ([start(), error("invalid_request_error", "No")], errors.UpstreamRefused),
        ([start(), error("authentication_error", "sk-1")], errors.UpstreamInvalid),
        ([start(), error("billing_error", "sk-1")], errors.UpstreamInvalid),
    ],
)
def test_a_stream_that_fails_fails(events: list[Json], kind: type[errors.ChatError]) -> None:
    """It never ends as if it were whole."""
    with pytest.raises(errors.ChatError) as failed:
        read(*events)
    assert type(failed.value) is kind
    assert "sk-1" not in failed.value.message


@pytest.mark.parametrize(
    "data",
    [
        b"{not json",
        b"[1]",
        b'{"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use"}}',
        b'{"type": "content_block_start", "content_block": {"type": "tool_use", "name": "f"}}',
    ],
)
def test_what_makes_no_sense(data: bytes) -> None:
    with pytest.raises(errors.UpstreamInvalid):
        read_data(data)


def test_what_it_remembers_is_bounded() -> None:
    begun = (tool_use(index, f"t{index}", "f")[0] for index in range(10_000))
    with pytest.raises(errors.UpstreamInvalid, match="too many"):
        read_data(*(json.dumps(event).encode() for event in begun))


def test_after_its_end_nothing_is_said() -> None:
    """A server that goes on would break the promise that the finish reason is last."""
    late = [*text(1, "more"), *tool_use(2, "t", "f", "{}"), *stopped("max_tokens")]
    events = [start(), *text(0, "Hi"), *stopped("end_turn"), *late]
    assert [short(chunk) for chunk in read(*events)] == [
        ("role", ""),
        ("text", "Hi"),
        ("finish", STOPPED),
        USAGE,
    ]


KEYS = [
    *("type", "index", "message", "model", "usage", "content_block", "delta", "id", "name"),
    *("text", "thinking", "partial_json", "input", "stop_reason", "error", "output_tokens"),
    *("signature", "data"),
]
TYPES = [
    *("message_start", "content_block_start", "content_block_delta", "message_delta"),
    *("content_block_stop", "message_stop", "error"),
    *("text", "tool_use", "thinking", "redacted_thinking", "text_delta", "input_json_delta"),
    *("thinking_delta", "signature_delta", "end_turn", "max_tokens"),
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(TYPES) | st.integers(0, 2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=6,
)  # fmt: skip
EVENTS = st.dictionaries(st.sampled_from(KEYS), VALUES).flatmap(
    lambda event: st.sampled_from(TYPES[:7]).map(lambda kind: event | {"type": kind})
)


@given(
    st.lists(
        (EVENTS | VALUES).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20),
        max_size=6,
    )
)
def test_garbage_ends_in_an_error_of_ours(events: list[bytes]) -> None:
    """Nothing that a server can send escapes as anything but a ChatError."""
    try:
        for chunk in read_data(*events):
            chunk.SerializeToString()
    except errors.ChatError:
        pass
