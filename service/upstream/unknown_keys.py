"""Keys of an upstream's events that the contract does not know, until a chunk takes them along."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from diglot.v1.chunk_pb2 import ChatCompletionChunk, ChunkChoice, Delta

from ..errors import UpstreamInvalid
from ..extra import Json, add_up, known_keys, unknown, written
from .delta import bare

# What has a place, and what means nothing behind this server: `p` is Mistral's `obfuscation`.
EVENT = known_keys(ChatCompletionChunk) | {"error", "p"}
CHOICE = known_keys(ChunkChoice)
DELTA = known_keys(Delta) | {"reasoning"}

# Characters of them that may wait for a chunk.
_MOST_WAITING = 2**20


class UnknownKeys:
    """Those of one stream that no chunk has taken along yet."""

    def __init__(self) -> None:
        self.event: Json = {}
        """What goes with the next chunk, whichever it is."""
        self._choices: dict[int, _OfChoice] = {}
        self._size = 0

    def add(self, event: dict[str, Any]) -> None:
        add_up(self.event, unknown(event, EVENT))

    def put_on(self, chunk: ChatCompletionChunk) -> None:
        chunk.extra_json, self.event = written(self.event), {}
        self._size = 0

    def touches(self, body: dict[str, Any]) -> bool:
        """Whether a choice of an event has any, or may take along what was kept."""
        if self._choices or not CHOICE.issuperset(body):
            return True
        delta = body.get("delta")
        return type(delta) is dict and not DELTA.issuperset(delta)

    def put_beside(
        self,
        body: dict[str, Any],
        said: list[ChatCompletionChunk],
        begins: int,
        opened: Container[int],
    ) -> None:
        """Writes what a choice says that is unknown on the chunks for it, which are those that
        `begins` tells and all after them: on the one that has the finish reason, if there is one,
        else on the first that says something; its delta's on the latter.

        It waits for a choice that is not `opened`, and else has a chunk of its own if need be.
        """
        index = body.get("index") or 0
        extra = self._choices.pop(index, None) or _OfChoice()
        extra.add(body)
        finishes = bool(body.get("finish_reason"))
        for chunk in said[begins:]:
            choice = chunk.choices[0]
            if choice.index == index and not _only_opens(choice):
                extra.put_on(choice, last=choice.HasField("finish_reason") or not finishes)
        if not extra:
            return
        if index not in opened:
            self._choices[index] = extra
            self.wait({**extra.choice, **extra.delta})
            return
        chunk = bare(index)
        extra.put_on(chunk.choices[0], last=True)
        said.append(chunk)

    def wait(self, extra: Json) -> None:
        """Raises if too much of them has waited for too long."""
        self._size += len(written(extra))
        if self._size > _MOST_WAITING:
            raise UpstreamInvalid("The upstream says too much beside its answer.")


def _only_opens(choice: ChunkChoice) -> bool:
    return choice.delta.HasField("role") and not choice.delta.content


class _OfChoice:
    """A choice's."""

    __slots__ = ("choice", "delta")

    def __init__(self) -> None:
        self.choice: Json = {}
        self.delta: Json = {}

    def __bool__(self) -> bool:
        return bool(self.choice or self.delta)

    def add(self, body: dict[str, Any]) -> None:
        delta = body.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        add_up(self.delta, unknown(delta, DELTA))
        extra = unknown(body, CHOICE)
        if "text" in extra and extra["text"] == delta.get("content"):
            del extra["text"]  # the same, as completions have it that are no chat: Together
        add_up(self.choice, extra)

    def put_on(self, choice: ChunkChoice, *, last: bool) -> None:
        if self.delta:
            choice.delta.extra_json, self.delta = written(self.delta), {}
        if self.choice and last:
            choice.extra_json, self.choice = written(self.choice), {}
