"""What ends a choice is the last that is said of it, wherever an upstream says it."""

from __future__ import annotations

from diglot.v1 import completion_pb2 as c
from diglot.v1.chunk_pb2 import ChatCompletionChunk


class Endings:
    """Keeps the chunks with a finish reason until nothing more can come: some servers go on to
    say what they had not said yet, and clients that have read the reason do not look any more."""

    def __init__(self) -> None:
        self._kept: dict[int, ChatCompletionChunk] = {}

    def keep(self, chunk: ChatCompletionChunk) -> bool:
        """Whether it is one, and is kept."""
        choice = chunk.choices[0]
        if not choice.HasField("finish_reason"):
            return False
        self._kept[choice.index] = chunk
        return True

    def called(self, index: int) -> None:
        """A tool is called in this choice, perhaps after its end."""
        kept = self._kept.get(index)
        if kept is not None and kept.choices[0].finish_reason == c.FINISH_REASON_STOP:
            kept.choices[0].finish_reason = c.FINISH_REASON_TOOL_CALLS

    def release(self) -> list[ChatCompletionChunk]:
        """In the order in which they came."""
        kept = [*self._kept.values()]
        self._kept.clear()
        return kept
