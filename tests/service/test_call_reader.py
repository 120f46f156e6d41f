"""Tool calls read out of a text: however it is cut into pieces, and wherever it ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diglot.service.embedded.call_reader import CallReader

Json = dict[str, Any]
Delta = tuple[Json, list[Json]]

ARGUMENTS = ['{"city": "Paris"}', "{}", '{"q": "}\\"]{\\\\", "n": [{"a": []}, "</tool_call>"]}']
INPUT = 'say "hi"\\\n\té😀 <tool_call>'


def call(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def custom(name: str, text: str) -> str:
    written = json.dumps(text, ensure_ascii=False)
    return f'<tool_call>\n{{"name": "{name}", "input": {written}}}\n</tool_call>'


def deltas(pieces: list[str], *, deprecated: bool = False) -> list[Delta]:
    """Each piece is a token, with an entry of its own."""
    reader = CallReader(deprecated=deprecated)
    found: list[Delta] = []
    for number, piece in enumerate(pieces):
        found += reader.read(piece, [{"token": piece, "number": number}])
    return [*found, *reader.end()]


def content(found: list[Delta]) -> str:
    return "".join(delta.get("content", "") for delta, _ in found)


def calls(found: list[Delta]) -> list[tuple[str, str, str]]:
    """Kind, name and text of each."""
    whole: dict[int, tuple[str, str, str]] = {}
    for delta, _ in found:
        for piece in delta.get("tool_calls", ()):
            kind = "custom" if "custom" in piece else "function"
            body = piece[kind]
            _, name, text = whole.get(piece["index"], (kind, "", ""))
            text += body.get("arguments", "") + body.get("input", "")
            whole[piece["index"]] = kind, name + body.get("name", ""), text
    return [whole[index] for index in sorted(whole)]


# A text, what of it is content, and the calls.
TABLE: list[tuple[str, str, list[tuple[str, str, str]]]] = [
    ("", "", []),
    ("Hello there.\n", "Hello there.\n", []),
    (" \n ", " \n ", []),
    ("a < b, <tool, <tool_call, <<tool_cal", "a < b, <tool, <tool_call, <<tool_cal", []),
    ("</tool_call> is how it ends", "</tool_call> is how it ends", []),
    (call("f", ARGUMENTS[0]), "", [("function", "f", ARGUMENTS[0])]),
    (
        "Let me see. \n\n" + call("f", ARGUMENTS[2]) + "\n" + call("g", ARGUMENTS[1]),
        "Let me see.",
        [("function", "f", ARGUMENTS[2]), ("function", "g", ARGUMENTS[1])],
    ),
    ("\n" + custom("sql", INPUT), "", [("custom", "sql", INPUT)]),
    (
        custom("sql", "") + "\n" + call("f", "{}") + "\n" + custom("sql", "\\"),
        "",
        [("custom", "sql", ""), ("function", "f", "{}"), ("custom", "sql", "\\")],
    ),
    ("<tool" + call("f", "{}"), "<tool", [("function", "f", "{}")]),
]


@pytest.mark.parametrize(("text", "said", "called"), TABLE, ids=lambda value: repr(value)[:40])
def test_a_text_comes_apart_into_content_and_calls(
    text: str, said: str, called: list[tuple[str, str, str]]
) -> None:
    for pieces in ([text], list(text)):
        found = deltas(pieces)
        assert content(found) == said
        assert calls(found) == called


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(TABLE), st.data())
def test_however_it_is_cut_into_pieces(
    row: tuple[str, str, list[tuple[str, str, str]]], data: st.DataObject
) -> None:
    text, said, called = row
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    found = deltas(pieces)
    assert content(found) == said
    assert calls(found) == called
    _entries_come_once_and_in_order(found, pieces, said)


def _entries_come_once_and_in_order(found: list[Delta], pieces: list[str], said: str) -> None:
    numbers = [entry["number"] for _, entries in found for entry in entries]
    assert numbers == sorted(set(numbers))
    assert all("tool_calls" not in delta for delta, entries in found if entries)
    begin = 0
    for number, piece in enumerate(pieces):
        if piece and begin < len(said):
            assert number in numbers  # it begins in the content
        elif piece and begin > len(said):
            assert number not in numbers  # it is of a call
        begin += len(piece)


@pytest.mark.parametrize(("text", "said", "called"), TABLE, ids=lambda value: repr(value)[:40])
def test_wherever_it_is_cut_off_what_came_so_far_is_right(
    text: str, said: str, called: list[tuple[str, str, str]]
) -> None:
    for end in range(len(text)):
        found = deltas(list(text[:end]))
        assert (said + "\n<tool_call>").startswith(content(found).rstrip()[: len(said)])
        for (kind, name, part), whole in zip(calls(found), called, strict=False):
            assert (kind, name) == whole[:2]
            assert whole[2].startswith(part)
        if calls(found):
            assert content(found) == said


def test_text_goes_out_at_once_but_for_what_could_become_a_tag() -> None:
    reader = CallReader()
    said = [[delta["content"] for delta, _ in reader.read(piece, [])] for piece in
            ["one ", "two", " \n", "<tool", "_box", "> x"]]  # fmt: skip
    assert said == [["one"], [" two"], [], [], [" \n<tool_box"], ["> x"]]


def test_arguments_go_out_as_they_are_written() -> None:
    reader = CallReader()
    text = call("f", '{"a": "bc"}')
    parts = [delta for char in text for delta, _ in reader.read(char, [])]
    first = {"index": 0, "type": "function", "function": {"name": "f", "arguments": ""}}
    assert parts[0] == {"tool_calls": [first]}
    pieces = [part["tool_calls"][0]["function"]["arguments"] for part in parts[1:]]
    assert pieces == list('{"a": "bc"}')


def test_the_deprecated_form() -> None:
    found = [delta for delta, _ in deltas([call("f", '{"a": 1}')], deprecated=True)]
    assert found == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": '{"a": 1}'}},
    ]


def test_a_token_that_is_only_a_part_of_a_character_keeps_its_entry() -> None:
    reader = CallReader()
    found = [*reader.read("", [{"token": 1}]), *reader.read("é", [{"token": 2}])]
    assert found == [({"content": "é"}, [{"token": 1}, {"token": 2}])]
    assert [*reader.read("", [{"token": 3}]), *reader.end()] == [({}, [{"token": 3}])]


def test_cut_off_in_a_tag_the_tag_is_no_text() -> None:
    reader = CallReader()
    said = [*reader.read("I look.\n<tool", []), *reader.end(cut=True)]
    assert said == [({"content": "I look."}, [])]
    assert [*CallReader().read("<tool", []), *CallReader().end(cut=True)] == []
