"""Signed thought, as answers bring it and requests take it back: `thinking_blocks`.

    {"type": "thinking", "thinking": "…", "signature": "…"}
    {"type": "redacted_thinking", "data": "…"}

The key, and its shape, are LiteLLM's. The blocks belong to the message that the model thought
them for. The API takes them back only as they came, and where they stood: while a model calls
tools it wants them, and of earlier turns it drops itself what the model does not read.

Nearly always they stood before everything else. Where they did not, `thinking_places` has for
each block how many characters of `content`, and how many calls, came before it.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from diglot.v1.message_pb2 import Message

from ..errors import InvalidValue
from ..extra import Json
from ..upstream.request_json import beside
from ..upstream.values import text

KEY = "thinking_blocks"
PLACES = "thinking_places"

Place = list[int]
"""Characters of content, and calls, before a block."""

_TEXTS = {"thinking": ("thinking", "signature"), "redacted_thinking": ("data",)}
KINDS = frozenset(_TEXTS)


class ThinkingBlock:
    """A block that is being streamed."""

    def __init__(self, index: Any, block: Json, place: Place) -> None:
        self.index = index
        self.place = place
        self._block = block
        self._pieces: dict[str, list[str]] = {"thinking": [], "signature": []}

    def grow(self, key: str, piece: Any) -> None:
        if isinstance(piece, str):
            self._pieces[key].append(piece)

    def whole(self) -> Json | None:
        """None if it lacks its signature: then the API would not take it back."""
        grown = {
            key: (text(self._block.get(key)) or "") + "".join(pieces)
            for key, pieces in self._pieces.items()
            if key in _TEXTS[self._block["type"]]
        }
        block = self._block | grown
        return block if block.get(_TEXTS[block["type"]][-1]) and _is_one(block) else None


def said(blocks: list[Json], places: list[Place]) -> Json:
    """The keys of an answer."""
    return {KEY: blocks} | ({PLACES: places} if any(map(any, places)) else {})


def thought_of(message: Message, path: str) -> list[Json]:
    """What comes along with a message. Raises InvalidValue for what no answer can have had."""
    blocks = beside(message).get(KEY)
    if blocks is None:
        return []
    field = f"{path}.extra_json.{KEY}"
    if not isinstance(blocks, list):
        raise InvalidValue(f"Invalid '{field}': expected a list.", field=field)
    for place, block in enumerate(blocks):
        if not _is_one(block):
            where = f"{field}[{place}]"
            raise InvalidValue(
                f"Invalid '{where}': expected a block as an answer had it, of the type 'thinking' "
                "with a 'thinking' and a 'signature', or 'redacted_thinking' with 'data'.",
                field=where,
            )
    return blocks


def places_of(message: Message, path: str, blocks: int) -> list[Place]:
    """Where each of the blocks stood. Raises InvalidValue for what no answer can have had."""
    places = beside(message).get(PLACES)
    if places is None:
        return [[0, 0]] * blocks
    if not isinstance(places, list) or len(places) != blocks or not all(map(_is_place, places)):
        field = f"{path}.extra_json.{PLACES}"
        raise InvalidValue(
            f"Invalid '{field}': expected two numbers for each of '{KEY}', as an answer had them.",
            field=field,
        )
    return places


def woven(thought: list[Json], places: list[Place], blocks: list[Json]) -> list[Json]:
    """A message's texts and calls, with its thought where that stood.

    What stood behind all of them, as where an answer was cut, is left out: the API refuses a
    message that ends in thought.
    """
    waiting = deque(zip(places, thought, strict=True))
    result: list[Json] = []
    characters = calls = 0
    for block in blocks:
        if block["type"] == "tool_use":
            while waiting and waiting[0][0][1] <= calls:
                result.append(waiting.popleft()[1])
            calls += 1
        elif block["type"] == "text":
            end = characters + len(block["text"])
            while waiting and waiting[0][0][1] == 0 and waiting[0][0][0] < end:
                (place, _), thinking = waiting.popleft()
                if place > characters:
                    cut = place - characters
                    result.append({"type": "text", "text": block["text"][:cut]})
                    block, characters = block | {"text": block["text"][cut:]}, place
                result.append(thinking)
            characters = end
        result.append(block)
    return result


def _is_place(place: Any) -> bool:
    return (
        isinstance(place, list)
        and len(place) == 2
        and all(type(number) is int and number >= 0 for number in place)
    )


def _is_one(block: Any) -> bool:
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        return False
    keys = _TEXTS.get(block["type"])
    return keys is not None and all(isinstance(block.get(key), str) for key in keys)
