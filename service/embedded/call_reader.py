"""Reads tool calls out of a model's text while it is written.

The grammar (answer_form.py) allows the form

    text <tool_call>\\n{"name": "f", "arguments": {…}}\\n</tool_call>\\n<tool_call>…

and nothing else. So the text can be told from the calls at its first differing character, the
arguments go out as the model writes them, and only what could still become a tag is held back.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

from .answer_form import CALL_BEGINS

Json = dict[str, Any]

_HEAD = re.compile(r'\{"name": ("(?:[^"\\]|\\.)*"), "(arguments|input)": ')
_TAG = CALL_BEGINS.strip()


class CallReader:
    """One choice's text, taken apart into deltas as an upstream would send them.

    `deprecated` writes calls as `function_call`.
    """

    def __init__(self, *, deprecated: bool = False) -> None:
        self._deprecated = deprecated
        self._held: deque[tuple[str, list[Json]]] = deque()
        self._calls = 0
        self._rest = ""
        self._value: _Value | None = None

    def read(self, text: str, logprobs: list[Json]) -> Iterator[tuple[Json, list[Json]]]:
        """The deltas that a piece of text comes to, each with the logprobs of its tokens."""
        if self._calls or self._value is not None or self._rest:
            yield from self._read_calls(text)
            return
        self._held.append((text, logprobs))
        whole = "".join(piece for piece, _ in self._held)
        begins = whole.find(_TAG)
        if begins < 0:
            yield from self._said(len(whole) - _undecided(whole))
            return
        yield from self._said(len(whole[:begins].rstrip()))
        self._held.clear()
        yield from self._read_calls(whole[begins:])

    def end(self, *, cut: bool = False) -> Iterator[tuple[Json, list[Json]]]:
        """What was held back, when nothing more comes: all of it, unless it was cut in what
        could be the beginning of a call."""
        held = "".join(piece for piece, _ in self._held)
        if cut and _undecided(held):
            self._held.clear()
        yield from self._said(sum(len(piece) for piece, _ in self._held))
        # Tokens that never came to a whole character.
        if left := [entry for _, entries in self._held for entry in entries]:
            yield {}, left
        self._held.clear()

    def _said(self, length: int) -> Iterator[tuple[Json, list[Json]]]:
        """So many characters of what is held, with the logprobs of the tokens that begin there."""
        text = ""
        found: list[Json] = []
        while len(text) < length:
            piece, entries = self._held.popleft()
            found += entries
            rest = piece[length - len(text) :]
            text += piece[: length - len(text)]
            if rest:
                self._held.appendleft((rest, []))
        if text:
            yield {"content": text}, found

    def _read_calls(self, text: str) -> Iterator[tuple[Json, list[Json]]]:
        self._rest += text
        while self._rest:
            if self._value is None:
                head = _HEAD.search(self._rest)
                if head is None:
                    return
                self._rest = self._rest[head.end() :]
                kind = "custom" if head[2] == "input" else "function"
                self._value = _Text() if kind == "custom" else _Arguments()
                self._calls += 1
                yield self._delta(kind, {"name": json.loads(head[1]), head[2]: ""}, header=True), []
            value = self._value
            fragment, self._rest = value.read(self._rest)
            if fragment:
                yield self._delta(value.kind, {value.key: fragment}), []
            if not value.done:
                return
            self._value = None

    def _delta(self, kind: str, body: Json, *, header: bool = False) -> Json:
        if self._deprecated:
            return {"function_call": body}
        call: Json = {"index": self._calls - 1, kind: body}
        if header:
            call["type"] = kind
        return {"tool_calls": [call]}


def _undecided(text: str) -> int:
    """How much of the text's end could become a call: a part of the tag, and blanks before it."""
    lengths = (length for length in range(1, len(_TAG)) if text.endswith(_TAG[:length]))
    said = text[: len(text) - next(lengths, 0)].rstrip()
    return len(text) - len(said)


class _Value(Protocol):
    """A value under way."""

    kind: str
    key: str
    done: bool

    def read(self, text: str) -> tuple[str, str]:
        """What the piece adds to it, up to its end, and what of the piece is left."""


class _Arguments:
    """A JSON object, passed on as it stands."""

    kind = "function"
    key = "arguments"

    def __init__(self) -> None:
        self.done = False
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def read(self, text: str) -> tuple[str, str]:
        for place, char in enumerate(text):
            if self._escaped:
                self._escaped = False
            elif self._in_string:
                self._escaped = char == "\\"
                self._in_string = char != '"'
            elif char == '"':
                self._in_string = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self.done = True
                    return text[: place + 1], text[place + 1 :]
        return text, ""


class _Text:
    """A JSON string, passed on as the text that it spells."""

    kind = "custom"
    key = "input"

    def __init__(self) -> None:
        self.done = False
        self._begun = False
        self._escape = ""

    def read(self, text: str) -> tuple[str, str]:
        said: list[str] = []
        for place, char in enumerate(text):
            if not self._begun:
                self._begun = True  # the opening quote
            elif self._escape:
                # The grammar writes no \u, so an escape has two characters.
                said.append(json.loads(f'"{self._escape}{char}"'))
                self._escape = ""
            elif char == "\\":
                self._escape = char
            elif char == '"':
                self.done = True
                return "".join(said), text[place + 1 :]
            else:
                said.append(char)
        return "".join(said), ""
