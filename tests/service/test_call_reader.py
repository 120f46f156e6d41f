"""Calls are read out of a model's text, however it is cut into pieces."""

# ruff: noqa: E501  # a table reads better in one line a row

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diglot.service.embedded.call_reader import CallReader

Json = dict[str, Any]


def call(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def custom(name: str, text: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "input": {text}}}\n</tool_call>'


# What the model writes; the text that comes of it, and the calls.
READ: list[tuple[str, str, list[tuple[str, str]]]] = [
    ("", "", []),
    ("Hello there.", "Hello there.", []),
    ("a < b, <tool>, <tool_cal and\n\n <b>", "a < b, <tool>, <tool_cal and\n\n <b>", []),
    ("ends in blanks \n", "ends in blanks \n", []),
    (call("f", "{}"), "", [("f", "{}")]),
    ("I look.\n" + call("f", '{"a": [1, {"b": "}"}]}'), "I look.", [("f", '{"a": [1, {"b": "}"}]}')]),
    (call("f", '{"q": "\\"}{\\\\"}') + "\n" + call("g", "{}"), "", [("f", '{"q": "\\"}{\\\\"}'), ("g", "{}")]),
    (call("f", '{"tag": "<tool_call>\\n{"}') + "\n" + call("f", "{}"), "", [("f", '{"tag": "<tool_call>\\n{"}'), ("f", "{}")]),
    (custom("sql", '"SELECT \\"a\\"\\n\\\\ 😀"'), "", [("sql", 'SELECT "a"\n\\ 😀')]),
    ("x <" + call("f", "{}"), "x <", [("f", "{}")]),
]  # fmt: skip


def read(pieces: list[str], *, deprecated: bool = False) -> list[tuple[Json, list[Json]]]:
    reader = CallReader(deprecated=deprecated)
    found: list[tuple[Json, list[Json]]] = []
    for number, piece in enumerate(pieces):
        found += reader.read(piece, [{"token": number}])
    return [*found, *reader.end()]


def put_together(found: list[tuple[Json, list[Json]]]) -> tuple[str, list[tuple[str, str]]]:
    """As a client does."""
    text = "".join(delta.get("content", "") for delta, _ in found)
    calls: list[tuple[str, str]] = []
    for delta, _ in found:
        for piece in delta.get("tool_calls", ()):
            body = piece.get("function") or piece["custom"]
            said = body.get("arguments", body.get("input"))
            if "name" in body:
                assert piece["index"] == len(calls)
                assert said == ""
                calls.append((body["name"], ""))
            else:
                assert piece["index"] == len(calls) - 1
                calls[-1] = (calls[-1][0], calls[-1][1] + said)
    return text, calls


@pytest.mark.parametrize(("written", "text", "calls"), READ, ids=[row[0][:20] for row in READ])
def test_however_it_is_cut(written: str, text: str, calls: list[tuple[str, str]]) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.sets(st.integers(1, max(1, len(written)))))
    def cut(places: set[int]) -> None:
        edges = [0, *sorted(places), len(written)]
        pieces = [written[a:b] for a, b in itertools.pairwise(edges) if a < b]
        found = read(pieces)
        assert put_together(found) == (text, calls)
        # The end of the text, and no more, waits for what may follow it.
        assert not any("<tool_call>" in delta.get("content", "") for delta, _ in found)

    cut()


@pytest.mark.parametrize(
    "row", [row for row in READ if row[2]], ids=[r[0][:20] for r in READ if r[2]]
)
def test_cut_off_anywhere_it_is_what_came_so_far(
    row: tuple[str, str, list[tuple[str, str]]],
) -> None:
    written, text, calls = row
    for length in range(len(written)):
        said, begun = put_together(read(list(written[:length])))
        assert written.startswith(said)
        assert len(said) < len(text) + len("\n<tool_call>")
        assert len(begun) <= len(calls)
        for (name, arguments), (whole_name, whole) in zip(begun, calls, strict=False):
            assert name == whole_name
            assert whole.startswith(arguments)


def test_cut_off_in_a_tag_that_had_to_come() -> None:
    reader = CallReader(forced=True)
    assert [*reader.read("<tool", []), *reader.end()] == []


def test_arguments_go_out_as_they_come() -> None:
    pieces = ["<tool_call>\n", '{"name": "f", "argu', 'ments": {"a', '": 1', "}}", "\n</tool_call>"]
    reader = CallReader()
    spoken = [[delta for delta, _ in reader.read(piece, [])] for piece in pieces]
    assert [len(deltas) for deltas in spoken] == [0, 0, 2, 1, 1, 0]


def test_each_tokens_probability_comes_with_its_text_once() -> None:
    pieces = [
        "I",
        " look",
        "<",
        "b>",
        " now",
        "\n",
        "<tool",
        "_call>\n",
        '{"name": "f", ',
        '"arguments": {}}',
    ]
    found = read(pieces)
    assert [
        (delta["content"], [entry["token"] for entry in entries]) for delta, entries in found[:4]
    ] == [
        ("I", [0]),
        (" look", [1]),
        ("<b>", [2, 3]),
        (" now", [4]),
    ]
    assert not any(entries for _, entries in found[4:])


def test_the_deprecated_form() -> None:
    found = read([call("f", '{"a": 1}')], deprecated=True)
    assert [delta for delta, _ in found] == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": '{"a": 1}'}},
    ]
