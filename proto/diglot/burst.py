"""Chunks that came together.

What is faster than its reader brings many chunks at once, most of which differ from their
neighbours in nothing but their text. From the engine to the socket they go as one burst, so that
a step on the way costs the same for a hundred chunks as for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias, final

from google.protobuf.message import Message

from diglot.v1.chunk_pb2 import ChatCompletionChunk

_SAME = frozenset({"id", "created", "model", "service_tier", "system_fingerprint", "choices"})


@final
class TextRun:
    """Chunks of one choice that differ in nothing but their text; none of them is the first.

    Where there are chunks too, ask `type(said) is TextRun`: isinstance asks a chunk itself what
    it is, which is dear.
    """

    __slots__ = ("common", "texts")

    def __init__(self, common: ChatCompletionChunk, texts: list[str]) -> None:
        """`common` is what all of them say. The text in it means nothing; it is there to be
        overwritten. Runs of one stream may share it: what is written to it is written to all
        that come. `texts` are one or more, none of them empty."""
        self.common = common
        self.texts = texts

    def __iter__(self) -> Iterator[ChatCompletionChunk]:
        """Them, each one its reader's own."""
        for text in self.texts:
            chunk = ChatCompletionChunk()
            chunk.CopyFrom(self.common)
            chunk.choices[0].delta.content = text
            yield chunk


Burst: TypeAlias = Sequence[ChatCompletionChunk | TextRun]
"""In their order; at least one."""


def chunks_of(burst: Burst) -> Iterator[ChatCompletionChunk]:
    """One by one."""
    for said in burst:
        if type(said) is TextRun:
            yield from said
        else:
            yield said


def messages_of(burst: Burst) -> Iterable[ChatCompletionChunk]:
    """What is to be written where all of the burst's chunks are to be changed alike."""
    return [said.common if type(said) is TextRun else said for said in burst]


def is_mere_text(chunk: ChatCompletionChunk) -> bool:
    """Whether its text is all that it says of its one choice: then what else there is, said once,
    is said of all of a run."""
    if len(chunk.choices) != 1 or not _fields(chunk) <= _SAME:
        return False
    choice = chunk.choices[0]
    return _fields(choice) <= {"index", "delta"} and _fields(choice.delta) == {"content"}


def _fields(message: Message) -> set[str]:
    return {field.name for field, _ in message.ListFields()}
