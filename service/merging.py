"""Text that waits to be sent, merged: one message instead of many.

A message over gRPC costs some thirty microseconds whatever is in it. So where a model, or an
upstream, is faster than that, what has come meanwhile goes out together; where it is slower each
chunk goes out alone, and at once.
"""

from __future__ import annotations

from google.protobuf.message import Message

from diglot.v1.chunk_pb2 import ChatCompletionChunk, Delta

# What one message may hold: enough to make its cost disappear, and soon delivered.
_MOST_CHUNKS = 128
_MOST_TEXT = 16 * 2**10

_SAME = frozenset({"id", "created", "model", "service_tier", "system_fingerprint", "choices"})
"""What chunks may say, beside their text, that is the same on all of them."""


class Merging:
    """The message to come.

    Only chunks of one choice that bring text and nothing else are merged, and only with their
    neighbours: adding up the deltas gives the same as before, in the same order.
    """

    def __init__(self) -> None:
        self._first: ChatCompletionChunk | None = None
        # Empty until the first is known to be mere text, which is asked when a second comes.
        self._texts: list[str] = []
        self._size = 0
        # A chunk of mere text, to compare others with.
        self._alike: ChatCompletionChunk | None = None
        self._delta: Delta

    def add(self, chunk: ChatCompletionChunk) -> bool:
        """Whether the message takes it; else it is for the next one. An empty message takes any."""
        first = self._first
        if first is None:
            self._first = chunk
            return True
        if not self._texts:
            if not (self._is_text(first) or self._learn(first)):
                return False
            self._append(first)
        if len(self._texts) >= _MOST_CHUNKS or self._size >= _MOST_TEXT or not self._is_text(chunk):
            return False
        self._append(chunk)
        return True

    def take(self) -> ChatCompletionChunk | None:
        """The message, to be sent; the next one begins empty."""
        chunk, self._first = self._first, None
        if self._texts:
            if chunk is not None and len(self._texts) > 1:
                chunk.choices[0].delta.content = "".join(self._texts)
                chunk.merged_chunks = len(self._texts)
            self._texts.clear()
            self._size = 0
        return chunk

    def _append(self, chunk: ChatCompletionChunk) -> None:
        text = chunk.choices[0].delta.content
        self._texts.append(text)
        self._size += len(text)

    def _is_text(self, chunk: ChatCompletionChunk) -> bool:
        if self._alike is None or len(chunk.choices) != 1:
            return False
        self._delta.content = chunk.choices[0].delta.content
        return self._alike == chunk

    def _learn(self, chunk: ChatCompletionChunk) -> bool:
        if len(chunk.choices) != 1 or not _fields(chunk) <= _SAME:
            return False
        choice = chunk.choices[0]
        if not _fields(choice) <= {"index", "delta"} or _fields(choice.delta) != {"content"}:
            return False
        self._alike = ChatCompletionChunk()
        self._alike.CopyFrom(chunk)
        self._delta = self._alike.choices[0].delta
        return True


def _fields(message: Message) -> set[str]:
    return {field.name for field, _ in message.ListFields()}
