"""How the keys that nobody here knows add up to those of a whole answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from diglot.service import errors
from diglot.service.extra import joined, known_keys
from diglot.service.fold import Fold
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.completion_pb2 import ChatCompletion, Choice


def folded(*chunks: ChatCompletionChunk) -> ChatCompletion:
    whole = Fold()
    for chunk in chunks:
        whole.add([chunk])
    return whole.completion()


def chunk(extra: Any = None, choice: Any = None, delta: Any = None) -> ChatCompletionChunk:
    value = ChatCompletionChunk(id="c")
    piece = value.choices.add()
    piece.delta.SetInParent()
    if extra is not None:
        value.extra_json = json.dumps(extra)
    if choice is not None:
        piece.extra_json = json.dumps(choice)
    if delta is not None:
        piece.delta.extra_json = json.dumps(delta)
    return value


RULES: dict[str, tuple[list[Any], Any]] = {
    "the last one counts": ([{"x": 1}, {"x": "2"}, {"y": 3}], {"x": "2", "y": 3}),
    "arrays are concatenated": ([{"x": [1]}, {"x": []}, {"x": [1, [2]]}], {"x": [1, 1, [2]]}),
    "objects are merged": (
        [{"x": {"id": 1, "a": {"b": [1]}}}, {"x": {"usage": {}, "a": {"b": [2]}}}, {"x": {}}],
        {"x": {"id": 1, "a": {"b": [1, 2]}, "usage": {}}},
    ),
    "what changes its kind is replaced": ([{"x": [1]}, {"x": {"a": 1}}, {"x": 5}], {"x": 5}),
}


@pytest.mark.parametrize(("pieces", "whole"), RULES.values(), ids=RULES.keys())
def test_they_add_up(pieces: list[Any], whole: Any) -> None:
    answer = folded(*(chunk(piece, piece, piece) for piece in pieces))
    choice = answer.choices[0]
    for text in (answer.extra_json, choice.extra_json, choice.message.extra_json):
        assert json.loads(text) == whole


def test_nothing_comes_of_nothing() -> None:
    answer = folded(chunk(), chunk({}))
    assert not answer.HasField("extra_json")
    assert not answer.choices[0].HasField("extra_json")
    assert not answer.choices[0].message.HasField("extra_json")


def test_a_completion_knows_more_keys_than_a_chunk() -> None:
    """Some say the message so far beside each delta; in a whole answer that has a place."""
    assert "message" in known_keys(Choice)
    answer = folded(chunk({"metadata": {}, "x": 1}, {"message": {"content": "x"}, "y": 1}))
    assert answer.extra_json == '{"x":1}'
    assert answer.choices[0].extra_json == '{"y":1}'


def test_calls_have_theirs() -> None:
    chunks = [ChatCompletionChunk(), ChatCompletionChunk()]
    for place, value in enumerate(chunks):
        calls = value.choices.add().delta.tool_calls
        call = calls.add(index=0, extra_json=f'{{"x":[{place}]}}')
        call.function.extra_json = f'{{"y":{place}}}'
        calls.add(index=1).custom.input = "i"
        calls[1].extra_json = f'{{"z":{place}}}'
    function, custom = folded(*chunks).choices[0].message.tool_calls
    assert (function.extra_json, function.function.extra_json) == ('{"x":[0,1]}', '{"y":1}')
    assert (custom.extra_json, custom.custom.input) == ('{"z":1}', "ii")


@pytest.mark.parametrize("text", ["", "[1]", "{", "1", "[" * 300])
def test_what_is_no_object_is_another_diglots_fault(text: str) -> None:
    with pytest.raises(errors.UpstreamInvalid):
        folded(ChatCompletionChunk(extra_json=text))


def thought(piece: Any = None, **more: Any) -> dict[str, Any]:
    said = {} if piece is None else {"text": piece}
    return {"type": "reasoning.text", **said, "format": "f", "index": 0, **more}


SUMMED = {"type": "reasoning.summary", "summary": "s"}
SECRET = {"type": "reasoning.encrypted", "data": "d", "index": 0}

THOUGHTS: dict[str, tuple[list[Any], list[Any]]] = {
    "pieces of a text, and its signature in the last": (
        [thought("Let"), thought(" me", signature=None), thought(signature="s")],
        [thought("Let me", signature="s")],
    ),
    "pieces of a summary": ([SUMMED, SUMMED], [{**SUMMED, "summary": "ss"}]),
    "what is secret is in one piece": ([SECRET, SECRET], [SECRET, SECRET]),
    "kinds end one another": (
        [thought("a"), SUMMED, thought("b"), SECRET, thought("c"), thought("d")],
        [thought("a"), SUMMED, thought("b"), SECRET, thought("cd")],
    ),
    "a signature ends a text": (
        [thought("a", signature="s"), thought("b", signature="t")],
        [thought("a", signature="s"), thought("b", signature="t")],
    ),
    "an empty one after a signature is no new text": (
        [thought("a"), thought(signature="s"), thought("")],
        [thought("a", signature="s")],
    ),
    "a signature alone": ([thought(signature="s")], [thought(signature="s")]),
    "what is none": ([1, None, {}, {"type": [1]}, [2]], [1, None, {}, {"type": [1]}, [2]]),
    "a text that is none": ([thought("a"), thought([1])], [thought("a")]),
}


@pytest.mark.parametrize(("pieces", "whole"), THOUGHTS.values(), ids=THOUGHTS.keys())
def test_thoughts_are_joined_again(pieces: list[Any], whole: list[Any]) -> None:
    assert joined(pieces) == whole
    assert joined(whole) == whole
    said = [chunk(delta={"reasoning_details": [piece]}) for piece in pieces]
    message = folded(*said).choices[0].message
    assert json.loads(message.extra_json) == {"reasoning_details": whole}
