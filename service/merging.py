"""A burst as messages: text that came together goes out in one.

A message over gRPC costs some thirty microseconds whatever is in it. So where a model, or an
upstream, is faster than that, what has come meanwhile goes out together; where it is slower each
chunk goes out alone, and at once.
"""

from __future__ import annotations

from collections.abc import Iterator

from diglot.burst import Burst, TextRun, is_mere_text
from diglot.v1.chunk_pb2 import ChatCompletionChunk


def merged(burst: Burst) -> Iterator[ChatCompletionChunk]:
    """As few messages as say the same: adding up their deltas gives the same, in the same order.

    Only chunks that bring text and nothing else are merged. A message is no longer than what its
    source has ready at once: of an upstream 256 KiB.
    """
    for said in burst:
        if type(said) is not TextRun:
            yield said
        elif len(said.texts) > 1 and is_mere_text(said.common):
            chunk = ChatCompletionChunk()
            chunk.CopyFrom(said.common)
            chunk.choices[0].delta.content = "".join(said.texts)
            chunk.merged_chunks = len(said.texts)
            yield chunk
        else:
            yield from said
