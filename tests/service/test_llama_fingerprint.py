"""The fingerprint of llama.cpp's builds."""

from __future__ import annotations

import json

import pytest

from diglot.burst import chunks_of
from diglot.service.embedded.llama import LlamaChunkReader
from diglot.v1.chat_pb2 import CreateChatCompletionRequest


@pytest.mark.parametrize(
    ("said", "told"), [("b8233-a1b2c3", {"b8233-a1b2c3"}), ("b0-unknown", {""})]
)
def test_what_all_builds_without_a_version_say_is_no_fingerprint(said: str, told: set[str]) -> None:
    events = [
        json.dumps(
            {
                "id": "chatcmpl-1",
                "created": 1700000000,
                "model": "m",
                "system_fingerprint": said,
                "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}],
            }
        ).encode()
        for word in "abc"
    ]
    reader = LlamaChunkReader(CreateChatCompletionRequest(), "m")
    chunks = chunks_of(list(reader.read(events)))
    assert {chunk.system_fingerprint for chunk in chunks} == told
