"""Mends the tool calls of one choice's stream.

What goes out: for each call a header (index, id, name, arguments ""), then fragments that
carry nothing but the index and text; indices from 0 without gaps. Keys that are not known go
with the next of these. What comes in, from one server or another: no index, always index 0, ids
and names repeated on each piece, no id, the first fragment inside the header, arguments as an
object.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from itertools import count
from typing import Any

from diglot.v1.chunk_pb2 import FunctionCallDelta, ToolCallDelta

from ..errors import UpstreamInvalid
from ..extra import Json, add_up, known_keys, unknown, written
from .values import text

_MOST = 1024
# Characters that may wait for a call's name.
_MOST_WAITING = 2**20
_CALL = known_keys(ToolCallDelta)
_FUNCTION = known_keys(FunctionCallDelta)


class ToolCallMender:
    """One choice's calls so far."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._places: dict[int, _Call] = {}
        self._indices = count()

    def __len__(self) -> int:
        """How many have been told of."""
        return sum(call.announced for call in self._calls)

    def add(self, piece: dict[str, Any], *, whole: bool = False) -> Iterator[ToolCallDelta]:
        """What it comes to. A `whole` one is a call of its own, whatever id and place it says."""
        kind = "custom" if isinstance(piece.get("custom"), dict) else "function"
        body = piece.get(kind)
        body = body if isinstance(body, dict) else {}
        name = text(body.get("name")) or ""
        if whole:
            call = self._begin(text(piece.get("id")) or "", name, kind)
        else:
            call = self._find(piece, name, kind)
        if not _CALL.issuperset(piece):
            add_up(call.extra, unknown(piece, _CALL))
        if not _FUNCTION.issuperset(body) and kind == "function":
            add_up(call.function_extra, unknown(body, _FUNCTION))
        yield from call.add(_fragment(body.get("input" if kind == "custom" else "arguments")))

    def end(self) -> Iterator[ToolCallDelta]:
        """What is missing when the model is done: clients parse "" as JSON, and fail."""
        for call in self._calls:
            if call.kind == "function" and not call.has_text:
                yield from call.add("{}")

    def _find(self, piece: dict[str, Any], name: str, kind: str) -> _Call:
        call_id = text(piece.get("id")) or ""
        place = piece.get("index")
        known = next((call for call in self._calls if call_id and call.id == call_id), None)
        if known is None and isinstance(place, int):
            known = self._places.get(place)
            # Another id and a name: a new call under an old number.
            if known is not None and call_id and name and known.id_given:
                known = None
        elif known is None and not call_id and not name and self._calls:
            known = self._calls[-1]
        if known is None:
            known = self._begin(call_id, name, kind)
        if isinstance(place, int):
            self._places[place] = known
        if not known.name:
            known.name = name
        return known

    def _begin(self, call_id: str, name: str, kind: str) -> _Call:
        if len(self._calls) == _MOST:
            raise UpstreamInvalid("The upstream sent too many tool calls.")
        call = _Call(self._indices, call_id, name, kind)
        self._calls.append(call)
        return call


class _Call:
    def __init__(self, indices: Iterator[int], call_id: str, name: str, kind: str) -> None:
        self.index = -1
        """Among those that have been told of."""
        self.id_given = bool(call_id)
        self.id = call_id or f"call_{secrets.token_hex(12)}"
        self.name = name
        self.kind = kind
        self.has_text = False
        # What is still to be said beside it.
        self.extra: Json = {}
        self.function_extra: Json = {}
        self.announced = False
        self._indices = indices
        self._waiting: list[str] = []
        self._waiting_size = 0

    def add(self, fragment: str) -> Iterator[ToolCallDelta]:
        if not self.name:  # the header needs it; some servers send it late
            self._wait(fragment)
            return
        if not self.announced:
            self.announced = True
            self.index = next(self._indices)
            fragment = "".join((*self._waiting, fragment))
            header = self._delta("")
            header.id = self.id
            (header.custom if self.kind == "custom" else header.function).name = self.name
            yield header
        if fragment or self.extra or self.function_extra:
            self.has_text |= bool(fragment)
            yield self._delta(fragment)

    def _wait(self, fragment: str) -> None:
        if fragment:
            self._waiting.append(fragment)
        self._waiting_size += len(fragment)
        if self._waiting_size > _MOST_WAITING:
            raise UpstreamInvalid("The upstream sent a tool call without a name.")

    def _delta(self, fragment: str) -> ToolCallDelta:
        delta = ToolCallDelta(index=self.index)
        if self.kind == "custom":
            delta.custom.input = fragment
        else:
            delta.function.arguments = fragment
        if self.extra:
            delta.extra_json, self.extra = written(self.extra), {}
        if self.function_extra:
            delta.function.extra_json, self.function_extra = written(self.function_extra), {}
        return delta


def _fragment(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return text(value) or ""
