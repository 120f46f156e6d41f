"""Events that differ from an earlier one in nothing but their text.

In most streams that is nearly all of them, as servers repeat everything else with each token.
Reading such an event takes two comparisons and one string instead of a parser's whole work.
"""

from __future__ import annotations

import re

from pydantic_core import from_json

from diglot.v1.chunk_pb2 import ChatCompletionChunk

_KEY = b'"content"'
_STRING = re.compile(rb'"content"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"')

# So many events may have been compared in vain before it is known whether it pays.
_ON_TRIAL = 8


class Alike:
    """Knows the last event that said only text, and the chunk that it came to.

    Events are alike if they begin and end as that one, up to the quotes of its text. Within
    those a JSON string can hold no other key, so whatever else the event says is the same, and
    the chunk is the same but for its text.
    """

    def __init__(self) -> None:
        self._before = b""
        self._after = b""
        self._chunk: ChatCompletionChunk | None = None
        self._gain = _ON_TRIAL

    def read(self, data: bytes) -> ChatCompletionChunk | None:
        """The chunk, if the event is alike."""
        if self._chunk is None:
            return None
        before, after = self._before, self._after
        text = data[len(before) : -len(after)]
        if not text or not (data.startswith(before) and data.endswith(after)):
            return None
        try:
            content = from_json(b'"' + text + b'"')
        except ValueError:
            return None
        self._gain += 1
        chunk = ChatCompletionChunk()
        chunk.CopyFrom(self._chunk)
        chunk.choices[0].delta.content = content
        return chunk

    def learn(self, data: bytes, chunk: ChatCompletionChunk) -> None:
        """Remembers an event that came to this chunk, of one choice's text and nothing else.

        Some servers pad each event with something random: then it is given up.
        """
        self._chunk = None
        if self._gain <= 0 or data.count(_KEY) != 1:
            return
        self._gain -= 1
        found = _STRING.search(data)
        if found is None:
            return
        self._before, self._after = data[: found.start(1)], data[found.end(1) :]
        self._chunk = ChatCompletionChunk()
        self._chunk.CopyFrom(chunk)
