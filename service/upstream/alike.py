"""Events that differ from an earlier one in nothing but their text.

In most streams that is nearly all of them, as servers repeat everything else with each token.
Reading such an event takes two comparisons, and the texts of all that came together are read at
once, instead of a parser's whole work for each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from pydantic_core import from_json

from diglot.burst import TextRun
from diglot.v1.chunk_pb2 import ChatCompletionChunk

_KEY = re.compile(rb'"content"\s*:\s*"')

# So many events may have been compared in vain before it is known whether it pays.
_ON_TRIAL = 8
# What there is at least after a text: the ends of its string, delta, choice, choices and event.
_SHORTEST_END = len(b'"}}]}')


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
        # What is still to be taken apart: many answers have no second event.
        self._event: bytes | None = None
        self._gain = _ON_TRIAL

    def read(self, events: Sequence[bytes], first: int = 0) -> TextRun | None:
        """The chunks of the events from the first on that are alike; None if that one is not."""
        if self._event is not None:
            if events[first][-_SHORTEST_END:] != self._event[-_SHORTEST_END:]:
                return None  # as in many answers, which have but one event of text
            self._take_apart(self._event)
        if self._chunk is None:
            return None
        before, after = self._before, self._after
        begins, ends = len(before), -len(after)
        found = []
        for data in islice(events, first, None):
            text = data[begins:ends]
            if not text or not (data.startswith(before) and data.endswith(after)):
                break
            found.append(text)
        texts = _spelt(found) if found else None
        if not texts:
            return None
        self._gain += len(texts)
        return TextRun(self._chunk, texts)

    def learn(self, data: bytes, chunk: ChatCompletionChunk) -> None:
        """Remembers an event that came to this chunk, of one choice's text and nothing else.

        Some servers pad each event with something random: then it is given up.
        """
        self._chunk = self._event = None
        if self._gain > 0:
            self._gain -= 1
            self._event = data
            self._chunk = ChatCompletionChunk()
            self._chunk.CopyFrom(chunk)

    def _take_apart(self, event: bytes) -> None:
        self._event = None
        key = _KEY.search(event)
        if key is None or event.count(b'"content"') != 1:
            self._chunk = None
            return
        start = key.end()
        end = event.index(b'"', start)
        while _is_escaped(event, start, end):
            end = event.index(b'"', end + 1)
        self._before, self._after = event[:start], event[end:]


def _is_escaped(event: bytes, start: int, at: int) -> bool:
    text = event[start:at]
    return (len(text) - len(text.rstrip(b"\\"))) % 2 == 1


def _spelt(found: list[bytes]) -> list[str]:
    """What the insides of JSON's strings mean, up to the first that is no such thing."""
    together = b'","'.join(found)
    # Where no text has a quote, escaped or not, there is no doubt where each of them ends.
    if together.count(b'"') == 2 * len(found) - 2:
        try:
            texts: list[str] = from_json(b'["' + together + b'"]')
        except ValueError:
            pass  # one of them; which?
        else:
            if len(texts) == len(found):
                return texts
    texts = []
    for text in found:
        try:
            texts.append(from_json(b'"' + text + b'"'))
        except ValueError:
            break
    return texts
