"""Characters that a server of the Messages API cut in two: JSON can spell a half of one."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages_server import PING, block, start, stopped, text, thinking, tool_use

from diglot.service.anthropic import Options
from diglot.service.anthropic.event_reader import MessageReader
from diglot.service.anthropic.refusal import error_of
from diglot.service.anthropic.request_json import to_json
from diglot.service.errors import ContextLengthExceeded, UpstreamInvalid
from diglot.service.fold import Fold
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.message_pb2 import ROLE_ASSISTANT, ROLE_TOOL, FunctionCall, Message, ToolCall

Json = dict[str, Any]
FIRST, SECOND = "\ud83d", "\ude00"


def chunks(*events: Json) -> list[ChatCompletionChunk]:
    reader = MessageReader(CreateChatCompletionRequest())
    # Not by the SDK's models: they refuse what no UTF-8 can say.
    read = reader.read([json.dumps(event).encode() for event in events])
    return [*read, *reader.end()]


def message(*events: Json, stop: str = "end_turn") -> Message:
    whole = Fold()
    whole.add(chunks(start(), *events, *stopped(stop)))
    return whole.completion().choices[0].message


def test_halves_in_two_deltas_are_one_character() -> None:
    events = chunks(start(), *text(0, "a" + FIRST, SECOND + "b"), *stopped("end_turn"))
    deltas = [choice.delta for chunk in events for choice in chunk.choices]
    assert [delta.content for delta in deltas if delta.content] == ["a", "😀b"]


@given(st.lists(st.sampled_from(["a", "", '"', "\\", "😀", "\\ud83d"]), max_size=8), st.data())
def test_wherever_a_text_is_cut_it_is_the_same(parts: list[str], data: st.DataObject) -> None:
    whole = "x" + "".join(parts)
    units = whole.encode("utf-16-le")
    cuts = data.draw(st.lists(st.integers(0, len(units) // 2), max_size=6).map(sorted))
    bounds = [0, *(2 * cut for cut in cuts), len(units)]
    pieces = [
        units[begins:ends].decode("utf-16-le", "surrogatepass") for begins, ends in pairwise(bounds)
    ]
    said = message(*text(0, *pieces), *tool_use(1, "t", "f", *pieces), stop="tool_use")
    assert (said.content, said.tool_calls[0].function.arguments) == (whole, whole)


def test_thought_is_joined_where_it_is_told_and_where_it_is_signed() -> None:
    said = message(*thinking(0, "a" + FIRST, SECOND), *text(1, "b"))
    assert (said.reasoning_content, said.content) == ("a😀", "b")
    [block] = json.loads(said.extra_json)["thinking_blocks"]
    assert block["thinking"] == "a😀"


def test_arguments_are_joined_and_escapes_within_them_are_left_alone() -> None:
    """In the JSON that they are, both halves may be spelt: those are text as any other."""
    pieces = ('{"a":"' + FIRST, SECOND + '","b":"\\ud83d', '\\ude00"}')
    [call] = message(*tool_use(0, "t", "f", *pieces), stop="tool_use").tool_calls
    assert call.function.arguments == '{"a":"😀","b":"\\ud83d\\ude00"}'
    assert json.loads(call.function.arguments) == {"a": "😀", "b": "😀"}


def test_a_block_may_begin_with_one() -> None:
    events = block(0, {"type": "text", "text": FIRST}, {"type": "text_delta", "text": SECOND})
    assert message(*events).content == "😀"


def test_what_is_said_between_without_text_does_not_part_them() -> None:
    begins, first, second, ends = text(0, FIRST, SECOND)
    silent = text(0, "")[1]
    assert message(begins, first, PING, silent, second, ends).content == "😀"


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        pytest.param([FIRST, "b"], "\ufffdb", id="text follows"),
        pytest.param([FIRST, FIRST, SECOND], "\ufffd😀", id="another first half follows"),
        pytest.param(["a", SECOND + "b"], "a\ufffdb", id="only the second comes"),
        pytest.param(["a" + FIRST + "b", "c"], "a\ufffdbc", id="in the middle"),
        pytest.param(["a", FIRST], "a\ufffd", id="at the end"),
        pytest.param([FIRST], "\ufffd", id="alone"),
    ],
)
@pytest.mark.parametrize("ended", [True, False], ids=["block ends", "answer ends"])
def test_a_half_whose_other_never_comes_is_a_replacement(
    pieces: list[str], told: str, ended: bool
) -> None:
    for said in (text(0, *pieces), thinking(0, *pieces), tool_use(0, "t", "f", *pieces)):
        found = message(*(said if ended else said[:-1]))
        [words] = [call.function.arguments for call in found.tool_calls] or [
            found.content or found.reasoning_content
        ]
        assert words == told


def test_each_block_has_its_own() -> None:
    """What one lost stays with it, and is no half of what another says."""
    said = message(
        *thinking(0, FIRST)[:-1],
        *text(1, SECOND + FIRST)[:-1],
        *tool_use(2, "t", "f", "{}" + FIRST)[:-1],
        *tool_use(3, "u", "f", SECOND),
        stop="tool_use",
    )
    assert (said.reasoning_content, said.content) == ("\ufffd", "\ufffd\ufffd")
    assert [call.function.arguments for call in said.tool_calls] == ["{}\ufffd", "\ufffd"]


def test_where_nobody_looks_one_does_no_harm() -> None:
    events = [
        start(vendor=FIRST),
        *block(0, {"type": "server_tool_use", "id": SECOND, "name": "s", "input": {FIRST: 1}}),
        {"type": FIRST},
        *text(1, "a"),
        *stopped("end_turn"),
    ]
    assert [each.choices[0].delta.content for each in chunks(*events)[1:2]] == ["a"]


@pytest.mark.parametrize("data", [b'{"a', rb'"\ud83d"', b"[1]", rb'{"a":"\ud83"}', b"7", b"\xff"])
def test_what_is_no_event_is_that_still(data: bytes) -> None:
    for before in ([], text(0, FIRST)[:2]):
        reader = MessageReader(CreateChatCompletionRequest())
        with pytest.raises(UpstreamInvalid):
            [*reader.read([*(json.dumps(event).encode() for event in before), data])]


def test_a_refusal_is_told_with_a_replacement() -> None:
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": "No " + FIRST}}
    assert str(error_of(400, json.dumps(body).encode())) == "No \ufffd"
    body["error"] = {"message": FIRST + "prompt is too long: 7 tokens > 5 maximum"}
    assert type(error_of(400, json.dumps(body).encode())) is ContextLengthExceeded


def test_arguments_with_one_are_taken_back() -> None:
    """As the API takes none, and a conversation with such a call could never go on."""
    called = FunctionCall(name="f", arguments=r'{"a": "x\ud83d", "b": "\ud83d\ude00"}')
    call = Message(role=ROLE_ASSISTANT, tool_calls=[ToolCall(id="t", function=called)])
    result = Message(role=ROLE_TOOL, tool_call_id="t", content="ok")
    request = CreateChatCompletionRequest(model="m", messages=[call, result])
    body = to_json(request, "m", Options())
    assert body["messages"][0]["content"][0]["input"] == {"a": "x\ufffd", "b": "😀"}
