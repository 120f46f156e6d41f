"""Halves of characters: JSON can spell one alone, and text cannot hold it.

A character beyond 16 bits is two escapes in JSON, `\\ud83d\\ude00`. Gateways that cut texts
between 16-bit units, as those in JavaScript do, send one half with a delta and the other with the
next.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json

from ..errors import UpstreamInvalid

Json = dict[str, Any]
_Path = tuple[str | int | None, ...]

_FIRST = re.compile("[\ud800-\udbff]")
_SECOND = re.compile("[\udc00-\udfff]")
# The group is any escape but that of a half alone: whatever is read before one, its backslash is
# not the end of another's.
_ESCAPE = re.compile(
    rb"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\(?!u[dD][89a-fA-F]).)"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")


def parsed(data: bytes, *, allow_inf_nan: bool = True) -> Any:
    """As from_json, but halves that are alone are U+FFFD. Raises ValueError as that does."""
    try:
        return from_json(data, allow_inf_nan=allow_inf_nan)
    except ValueError:
        whole = _ESCAPE.sub(lambda escape: escape[1] or rb"\ufffd", data)
        if whole == data:
            raise
        return from_json(whole, allow_inf_nan=allow_inf_nan)


def parted(text: str) -> tuple[str, str]:
    """A text that is not empty, its halves joined and those that are alone U+FFFD; but of a first
    half at its end, beside it, the other may still come."""
    half = text[-1] if _FIRST.match(text[-1]) else ""
    return joined(text.removesuffix(half)), half


def joined(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Halves(dict[int, dict[_Path, str]]):
    """Those at the ends of one stream's texts whose others have not come yet: of each choice, by
    the text's path in a delta."""

    def read(self, data: bytes) -> Any:
        """An event in which halves have come, or for which some wait: with what comes together
        put together, and those that nothing has come for, before what came instead.

        Raises UpstreamInvalid for what is not JSON.
        """
        try:
            event, cut = parsed(data), json.loads(data)
        except ValueError:
            raise UpstreamInvalid("The upstream sent an event that is not JSON.") from None
        alone: list[Json] = []
        for choice, cut_choice in zip(_choices(event), _choices(cut), strict=True):
            alone += self._join(choice, cut_choice)
        if alone:
            event["choices"][:0] = alone
        return event

    def give_up(self) -> Json:
        """The event for those that still wait."""
        choices = [_alone(index, path) for index in self for path in self[index]]
        self.clear()
        return {"choices": choices}

    def _join(self, choice: Json, cut: Json) -> list[Json]:
        """Writes the choice's texts; what the halves come to that have waited in vain."""
        index = choice.get("index") or 0
        if type(index) is not int:
            return []
        waited = self.pop(index, {})
        waits: dict[_Path, str] = {}
        spoken: set[_Path] = set()
        ends = bool(choice.get("finish_reason"))
        for (path, body), (_, cut_body) in zip(_texts(choice), _texts(cut), strict=True):
            key = str(path[-1])
            text = cut_body[key]
            if _SECOND.match(text):
                text = waited.pop(path, "") + text
            body[key], half = (joined(text), "") if ends else parted(text)
            if half:
                waits[path] = half
            spoken.add(path)
        # One call's pieces may come between another's.
        fields = {field for field, *_ in spoken}
        alone = []
        for path, half in waited.items():
            if ends or path in spoken or (fields and path[0] not in fields):
                alone.append(_alone(index, path))
            else:
                waits[path] = half
        if waits:
            self[index] = waits
        return alone


def _choices(event: Any) -> list[Json]:
    choices = event.get("choices") if isinstance(event, dict) else None
    return [each for each in choices if isinstance(each, dict)] if isinstance(choices, list) else []


def _texts(choice: Json) -> Iterator[tuple[_Path, Json]]:
    """What texts its delta has that grow: the path of each, and the object that it stands in."""
    delta = choice.get("delta")
    for path, body in _objects(delta) if isinstance(delta, dict) else ():
        if isinstance(body, dict) and isinstance(text := body.get(str(path[-1])), str) and text:
            yield path, body


def _objects(delta: Json) -> Iterator[tuple[_Path, Any]]:
    for key in _TEXTS:
        yield (key,), delta
    yield ("function_call", "arguments"), delta.get("function_call")
    yield ("audio", "transcript"), delta.get("audio")
    calls = delta.get("tool_calls")
    for piece in calls if isinstance(calls, list) else ():
        if isinstance(piece, dict):
            place = piece.get("index")
            place = place if isinstance(place, int) else None
            yield ("tool_calls", place, "function", "arguments"), piece.get("function")
            yield ("tool_calls", place, "custom", "input"), piece.get("custom")


def _alone(index: int, path: _Path) -> Json:
    """A choice that says nothing but, at that place of its delta, U+FFFD."""
    value: Any = "\ufffd"
    for step in reversed(path):
        value = {step: value} if isinstance(step, str) else [{"index": step, **value}]
    return {"index": index, "delta": value}
