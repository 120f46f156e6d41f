"""What upstreams send, and what it becomes: one row for each way of getting it wrong."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diglot.burst import chunks_of
from diglot.facade.to_json import completion, dumps
from diglot.service import errors
from diglot.service.fold import Fold
from diglot.service.upstream.chunk_reader import ChunkReader
from diglot.v1 import completion_pb2 as c
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.message_pb2 import ROLE_ASSISTANT
from diglot.v1.tool_pb2 import ToolChoice

STOP, LENGTH, TOOLS = c.FINISH_REASON_STOP, c.FINISH_REASON_LENGTH, c.FINISH_REASON_TOOL_CALLS


def said(delta: dict[str, Any], finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish} | more
    return json.dumps({"id": "x", "choices": [choice]}).encode()


def called(*pieces: dict[str, Any]) -> bytes:
    return said({"tool_calls": list(pieces)})


def read(
    *events: bytes, request: CreateChatCompletionRequest | None = None
) -> list[ChatCompletionChunk]:
    reader = ChunkReader(request or CreateChatCompletionRequest())
    return [*chunks_of([*reader.read(events), *reader.end()])]


def short(chunk: ChatCompletionChunk) -> Any:
    """A chunk in a form that a row can be compared with at a glance."""
    if not chunk.choices:
        return ("usage", chunk.usage.total_tokens)
    (choice,) = chunk.choices
    delta = choice.delta
    if delta.HasField("role"):
        assert delta.role == ROLE_ASSISTANT
        return ("role", choice.index, delta.content if delta.HasField("content") else None)
    if choice.HasField("finish_reason"):
        assert delta.ByteSize() == 0
        return ("finish", choice.index, choice.finish_reason)
    if delta.tool_calls:
        (call,) = delta.tool_calls
        if call.HasField("id"):
            return ("call", call.index, call.id, call.function.name + call.custom.name)
        return ("args", call.index, call.function.arguments + call.custom.input)
    if delta.HasField("reasoning_content"):
        return ("think", choice.index, delta.reasoning_content)
    return ("text", choice.index, delta.content)


HEADER = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
DONE = b"[DONE]"

MENDED: dict[str, tuple[list[bytes], list[Any]]] = {
    "as OpenAI sends it": (
        [said({"role": "assistant", "content": ""}), said({"content": "a"}), said({}, "stop")],
        [("role", 0, ""), ("text", 0, "a"), ("finish", 0, STOP)],
    ),
    "role in every chunk": (
        [
            said({"role": "assistant", "content": "a"}),
            said({"role": "assistant", "content": "b"}),
            said({"role": ""}, "stop"),
        ],
        [("role", 0, ""), ("text", 0, "a"), ("text", 0, "b"), ("finish", 0, STOP)],
    ),
    "no role at all": (
        [said({"content": "a"}), said({}, "stop")],
        [("role", 0, ""), ("text", 0, "a"), ("finish", 0, STOP)],
    ),
    "first content null": (
        [said({"role": "assistant", "content": None}), said({"content": "a"}), said({}, "stop")],
        [("role", 0, ""), ("text", 0, "a"), ("finish", 0, STOP)],
    ),
    "finish reason empty until the end, and with the last text": (
        [said({"content": "a"}, ""), said({"content": "b"}, "stop")],
        [("role", 0, ""), ("text", 0, "a"), ("text", 0, "b"), ("finish", 0, STOP)],
    ),
    "finish reason of its own, sent twice": (
        [said({"content": "a"}, "eos_token"), said({}, "stop")],
        [("role", 0, ""), ("text", 0, "a"), ("finish", 0, STOP)],
    ),
    "the reasons of Mistral and of Zhipu": (
        [
            said({"content": "a"}, "model_length"),
            said({"content": "b"}, "sensitive", index=1),
        ],
        [
            ("role", 0, ""),
            ("text", 0, "a"),
            ("role", 1, ""),
            ("text", 1, "b"),
            ("finish", 0, LENGTH),
            ("finish", 1, c.FINISH_REASON_CONTENT_FILTER),
        ],
    ),
    "the reasons of Gemini": (
        [
            said({"content": "a"}, "content_filter: RECITATION"),
            said({"content": "b"}, "SAFETY", index=1),
            said({"content": "c"}, "MAX_TOKENS", index=2),
        ],
        [
            ("role", 0, ""),
            ("text", 0, "a"),
            ("role", 1, ""),
            ("text", 1, "b"),
            ("role", 2, ""),
            ("text", 2, "c"),
            ("finish", 0, c.FINISH_REASON_CONTENT_FILTER),
            ("finish", 1, c.FINISH_REASON_CONTENT_FILTER),
            ("finish", 2, LENGTH),
        ],
    ),
    "a reason for what was not called": (
        [
            called(HEADER | {"function": {"name": "f", "arguments": "{}"}}),
            said({}, "function_call"),
            said({"content": "a"}, "function_call", index=1),
        ],
        [
            ("role", 0, None),
            ("call", 0, "c1", "f"),
            ("args", 0, "{}"),
            ("role", 1, ""),
            ("text", 1, "a"),
            ("finish", 0, TOOLS),
            ("finish", 1, STOP),
        ],
    ),
    "a call whose name never comes": (
        [said({"content": "a"}), called({"index": 0, "id": "c1"}), said({}, "tool_calls")],
        [("role", 0, ""), ("text", 0, "a"), ("finish", 0, STOP)],
    ),
    "calls of which the first is named last, and another never": (
        [
            called({"index": 0, "id": "c1", "function": {"arguments": "{"}}),
            called({"index": 1, "id": "c2"}),
            called({"index": 2, "id": "c3", "function": {"name": "g", "arguments": "{}"}}),
            called({"index": 0, "function": {"name": "f", "arguments": "}"}}),
            said({}, "tool_calls"),
        ],
        [
            ("role", 0, None),
            ("call", 0, "c3", "g"),
            ("args", 0, "{}"),
            ("call", 1, "c1", "f"),
            ("args", 1, "{}"),
            ("finish", 0, TOOLS),
        ],
    ),
    "text after the finish reason, and another one": (
        [
            said({"content": "a"}, "length"),
            said({"content": "b"}),
            said({"content": "c"}),
            said({"content": "d"}, "stop"),
            DONE,
        ],
        [
            ("role", 0, ""),
            *(("text", 0, letter) for letter in "abcd"),
            ("finish", 0, LENGTH),
        ],
    ),
    "a call after the finish reason": (
        [said({"content": "a"}, "stop"), called(HEADER | {"function": {"name": "f"}}), DONE],
        [("role", 0, ""), ("text", 0, "a"), ("call", 0, "c1", "f"), ("finish", 0, TOOLS)],
    ),
    "no finish reason, but [DONE]": (
        [said({"content": "a"}), DONE],
        [("role", 0, ""), ("text", 0, "a"), ("finish", 0, STOP)],
    ),
    "empty answer": ([said({}, "stop")], [("role", 0, ""), ("finish", 0, STOP)]),
    "error: null in every chunk, usage in the last one": (
        [
            b'{"error":null,"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}],'
            b'"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
        ],
        [("role", 0, ""), ("text", 0, "a"), ("finish", 0, STOP), ("usage", 2)],
    ),
    "usage without choices key, then null": (
        [
            said({"content": "a"}, "stop"),
            b'{"usage":{"prompt_tokens":1,"completion_tokens":2}}',
            b'{"choices":[],"usage":null}',
        ],
        [("role", 0, ""), ("text", 0, "a"), ("finish", 0, STOP), ("usage", 3)],
    ),
    "choices out of order": (
        [
            said({"content": "b"}, index=1),
            said({"content": "a"}, index=0),
            said({}, "stop", index=1),
            said({}, "length", index=0),
        ],
        [
            ("role", 0, ""),
            ("role", 1, ""),
            ("text", 1, "b"),
            ("text", 0, "a"),
            ("finish", 1, STOP),
            ("finish", 0, LENGTH),
        ],
    ),
    "reasoning under its other name": (
        [said({"reasoning": "hm"}), said({"content": "a"}, "stop")],
        [("role", 0, ""), ("think", 0, "hm"), ("text", 0, "a"), ("finish", 0, STOP)],
    ),
    "a tool call as OpenAI sends it": (
        [
            said({"role": "assistant", "content": None, "tool_calls": [HEADER]}),
            called({"index": 0, "function": {"arguments": '{"a'}}),
            called({"index": 0, "function": {"arguments": '":1}'}}),
            said({}, "tool_calls"),
        ],
        [
            ("role", 0, None),
            ("call", 0, "c1", "f"),
            ("args", 0, '{"a'),
            ("args", 0, '":1}'),
            ("finish", 0, TOOLS),
        ],
    ),
    "id, name and type repeated, finish reason stop": (
        [
            called({**HEADER, "function": {"name": "f", "arguments": "{"}}),
            called({**HEADER, "function": {"name": "f", "arguments": "}"}}),
            said({}, "stop"),
        ],
        [
            ("role", 0, None),
            ("call", 0, "c1", "f"),
            ("args", 0, "{"),
            ("args", 0, "}"),
            ("finish", 0, TOOLS),
        ],
    ),
    "later pieces with null id and name": (
        [
            called(HEADER),
            called(
                {
                    "index": 0,
                    "id": None,
                    "type": None,
                    "function": {"name": None, "arguments": "{}"},
                }
            ),
            said({}, "tool_calls"),
        ],
        [("role", 0, None), ("call", 0, "c1", "f"), ("args", 0, "{}"), ("finish", 0, TOOLS)],
    ),
    "parallel calls that all say index 0": (
        [
            called({"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{}"}}),
            called({"index": 0, "id": "c2", "function": {"name": "g", "arguments": "{}"}}),
            said({}, "tool_calls"),
        ],
        [
            ("role", 0, None),
            ("call", 0, "c1", "f"),
            ("args", 0, "{}"),
            ("call", 1, "c2", "g"),
            ("args", 1, "{}"),
            ("finish", 0, TOOLS),
        ],
    ),
    "no index, arguments as an object": (
        [
            called({"id": "c1", "function": {"name": "f", "arguments": {"x": 1}}}),
            said({}, "tool_calls"),
        ],
        [("role", 0, None), ("call", 0, "c1", "f"), ("args", 0, '{"x": 1}'), ("finish", 0, TOOLS)],
    ),
    "first index 1": (
        [called({**HEADER, "index": 1}), said({}, "tool_calls")],
        [("role", 0, None), ("call", 0, "c1", "f"), ("args", 0, "{}"), ("finish", 0, TOOLS)],
    ),
    "no arguments at all": (
        [called({"index": 0, "id": "c1", "function": {"name": "f"}}), said({}, "tool_calls")],
        [("role", 0, None), ("call", 0, "c1", "f"), ("args", 0, "{}"), ("finish", 0, TOOLS)],
    ),
    "name after the id": (
        [
            called({"index": 0, "id": "c1", "function": {"arguments": ""}}),
            called({"index": 0, "function": {"name": "f", "arguments": "{}"}}),
            said({}, "tool_calls"),
        ],
        [("role", 0, None), ("call", 0, "c1", "f"), ("args", 0, "{}"), ("finish", 0, TOOLS)],
    ),
    "a truncated call keeps what it has": (
        [called(HEADER), called({"index": 0, "function": {"arguments": "{"}}), said({}, "length")],
        [("role", 0, None), ("call", 0, "c1", "f"), ("args", 0, "{"), ("finish", 0, LENGTH)],
    ),
    "finish reason tool_calls without a call": (
        [said({"content": "a"}), said({}, "tool_calls")],
        [("role", 0, ""), ("text", 0, "a"), ("finish", 0, STOP)],
    ),
}


@pytest.mark.parametrize("name", MENDED)
def test_what_is_mended(name: str) -> None:
    events, expected = MENDED[name]
    assert [short(chunk) for chunk in read(*events)] == expected


@pytest.mark.parametrize("name", MENDED)
def test_in_one_piece_fewer_chunks_add_up_to_the_same(name: str) -> None:
    events, _ = MENDED[name]
    usage = b'{"choices":[],"x":1,"usage":{"prompt_tokens":1,"completion_tokens":2}}'
    reader = ChunkReader(CreateChatCompletionRequest(), in_one_piece=True)
    few = [*chunks_of([*reader.read([*events, usage, DONE]), *reader.end()])]
    many = read(*events, usage, DONE)
    assert len(few) < len(many)
    whole, expected = (Fold(), Fold())
    whole.add(few)
    expected.add(many)
    assert without_ids(whole.completion()) == without_ids(expected.completion())


@pytest.mark.parametrize("beside", [{"choices": []}, json.loads(said({"content": "a"}))])
def test_a_moderation_is_told_once_whatever_it_comes_with(beside: dict[str, Any]) -> None:
    """On each of an event's chunks its results would add up; and an event may have none."""
    moderation = {"input": {"results": [{"flagged": True}]}}
    event = json.dumps(beside | {"moderation": moderation, "usage": {}}).encode()
    chunks = read(event, said({"content": "b"}), said({}, "stop"), DONE)
    [told] = [chunk.moderation for chunk in chunks if chunk.HasField("moderation")]
    assert [each.flagged for each in told.input.results.results] == [True]
    last = read(said({"content": "b"}), said({}, "stop"), event, DONE)
    [told] = [chunk.moderation for chunk in last if chunk.HasField("moderation")]
    assert not [chunk for chunk in last if chunk.HasField("moderation") and not chunk.choices]


def without_ids(whole: c.ChatCompletion) -> c.ChatCompletion:
    """Of calls: where none was given, one is made up."""
    for choice in whole.choices:
        for call in choice.message.tool_calls:
            call.ClearField("id")
    return whole


def test_the_end_is_told_when_nothing_more_can_come() -> None:
    """That is with [DONE], and not with the connection's end, for which some servers take time."""
    reader = ChunkReader(CreateChatCompletionRequest())

    def told(event: bytes) -> list[Any]:
        return [short(chunk) for chunk in chunks_of([*reader.read([event])])]

    assert told(said({"content": "a"})) == [("role", 0, ""), ("text", 0, "a")]
    assert told(said({}, "stop")) == []
    assert told(b'{"choices":[],"usage":{"completion_tokens":1}}') == []
    assert told(DONE) == [("finish", 0, STOP)]
    assert [short(chunk)[0] for chunk in reader.end()] == ["usage"]


def test_a_call_of_the_named_tool_is_a_stop_also_after_the_end() -> None:
    request = CreateChatCompletionRequest(tool_choice=ToolChoice(function_name="f"))
    chunks = read(said({}, "stop"), called(HEADER), DONE, request=request)
    assert chunks[-1].choices[0].finish_reason == STOP


def test_a_call_of_the_named_tool_is_a_stop() -> None:
    """As OpenAI has it: vllm-project/vllm#25054."""
    request = CreateChatCompletionRequest(tool_choice=ToolChoice(function_name="f"))
    chunks = read(called(HEADER), said({}, "tool_calls"), request=request)
    assert chunks[-1].choices[0].finish_reason == STOP


def test_a_call_without_an_id_gets_one() -> None:
    first, second = (
        read(called({"index": 0, "function": {"name": "f"}}), said({}, "stop"))[1] for _ in range(2)
    )
    ids = {chunk.choices[0].delta.tool_calls[0].id for chunk in (first, second)}
    assert len(ids) == 2
    assert all(len(each) > 20 for each in ids)


def test_logprobs_are_finite_and_their_bytes_exact() -> None:
    body = (
        b'{"choices":[{"index":0,"delta":{"content":""},"logprobs":{"content":[{"token":"\\ufffd",'
        b'"logprob":-Infinity,"bytes":[240,159],"top_logprobs":[{"token":"x","logprob":-1e400,'
        b'"bytes":null}]}]}}]}'
    )
    asked = CreateChatCompletionRequest(logprobs=True, top_logprobs=1)
    chunk = read(body, said({}, "stop"), request=asked)[1]
    assert chunk.choices[0].delta.content == ""
    (token,) = chunk.choices[0].logprobs.content
    assert (token.logprob, token.bytes) == (-9999.0, b"\xf0\x9f")
    assert token.top_logprobs[0].logprob == -9999.0
    assert not token.top_logprobs[0].HasField("bytes")


def test_usage_details_are_kept() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 7, "unheard_of": 1, "audio_tokens": None},
        "completion_tokens_details": {"reasoning_tokens": 2},
        "cost": 0.5,
        "cost_details": None,
    }
    last = read(said({}, "stop"), json.dumps({"choices": [], "usage": usage}).encode())[-1]
    assert last.usage.prompt_tokens_details == c.PromptTokensDetails(
        cached_tokens=7, extra_json='{"unheard_of":1}'
    )
    assert last.usage.completion_tokens_details.reasoning_tokens == 2
    assert last.usage.extra_json == '{"cost":0.5}'


def test_annotations_and_audio_pass() -> None:
    citation = {"start_index": 1, "end_index": 2, "url": "u", "title": "t", "content": "c"}
    kept = {"type": "file", "file": {"hash": "h"}}
    chunks = read(
        said({"annotations": [{"type": "url_citation", "url_citation": citation}, kept, {}, 1]}),
        said({"audio": {"id": "a", "data": "AAAA", "transcript": "hi"}}),
        said({"audio": {"expires_at": 5}}, "stop"),
    )
    cited, other = chunks[1].choices[0].delta.annotations
    assert cited.url_citation.url == "u"
    assert cited.url_citation.extra_json == '{"content":"c"}'
    assert not cited.HasField("extra_json")
    assert json.loads(other.extra_json) == kept
    assert chunks[2].choices[0].delta.audio.transcript == "hi"
    assert chunks[3].choices[0].delta.audio.expires_at == 5


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ([b"{not json"], errors.UpstreamInvalid),
        ([b"[1]"], errors.UpstreamInvalid),
        ([said({"content": "a"}, index=-1)], errors.UpstreamInvalid),
        ([said({"content": "a"}, index=1 << 40)], errors.UpstreamInvalid),
        ([], errors.UpstreamInvalid),
        ([DONE], errors.UpstreamInvalid),
        ([said({"content": "a"})], errors.UpstreamUnavailable),
        ([said({"content": "a"}, "abort")], errors.UpstreamUnavailable),
        ([said({}, "function_call_filter: MALFORMED_FUNCTION_CALL")], errors.InvalidAnswer),
        ([said({"content": "a"}, "insufficient_system_resource")], errors.UpstreamUnavailable),
        ([b'{"error":{"message":"boom","code":500}}'], errors.UpstreamInvalid),
        ([b'{"error":"boom"}'], errors.UpstreamInvalid),
        ([b'{"error":{"message":"busy","code":503}}'], errors.UpstreamUnavailable),
        ([b'{"error":{"message":"no","code":400}}'], errors.UpstreamRefused),
    ],
)
def test_what_cannot_be_mended(events: list[bytes], kind: type[errors.ChatError]) -> None:
    """A stream that fails, fails: it never ends as if it were whole."""
    with pytest.raises(kind):
        read(*events)


@pytest.mark.parametrize(
    ("name", "kept", "message"),
    [
        ({"name": "f"}, {}, "too many"),
        ({}, {}, "too many"),
        ({}, {"index": 0, "id": "c"}, "without a name"),
    ],
)
def test_what_it_remembers_of_calls_is_bounded(
    name: dict[str, str], kept: dict[str, Any], message: str
) -> None:
    """Whether they are many, or one says much before it is known what it calls."""
    function = {"arguments": "x" * 1024} | name
    events = (called({"id": f"c{place}", "function": function} | kept) for place in range(2000))
    with pytest.raises(errors.UpstreamInvalid, match=message):
        read(*events)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
KEYS = [
    *("choices", "index", "delta", "content", "tool_calls", "function", "finish_reason", "usage"),
    *("id", "annotations", "url_citation", "prompt_tokens_details", "reasoning_details", "x"),
]
SHAPED = st.recursive(
    JSON,
    lambda inner: st.dictionaries(st.sampled_from(KEYS), inner) | st.lists(inner, max_size=2),
    max_leaves=12,
)


@given(st.lists(SHAPED.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20)))
def test_garbage_ends_in_an_error_of_ours(events: list[bytes]) -> None:
    """Nothing that an upstream can send escapes as anything but a ChatError."""
    whole = Fold()
    with suppress(errors.ChatError):
        for chunk in read(*events):
            whole.add([ChatCompletionChunk.FromString(chunk.SerializeToString())])
    assert json.loads(dumps(completion(whole.completion())))
