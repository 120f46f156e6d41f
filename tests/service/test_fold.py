"""Whole completions, of bursts."""

from __future__ import annotations

import pytest

from diglot.burst import Burst, TextRun, chunks_of
from diglot.service.fold import Fold
from diglot.v1 import completion_pb2 as c
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.message_pb2 import ROLE_ASSISTANT


def opening() -> ChatCompletionChunk:
    chunk = ChatCompletionChunk(id="chatcmpl-1", created=7, model="m")
    delta = chunk.choices.add().delta
    delta.role, delta.content = ROLE_ASSISTANT, ""
    return chunk


def run(*texts: str, **more: str) -> TextRun:
    common = ChatCompletionChunk(id="chatcmpl-1", created=7, model="m", **more)  # type: ignore[arg-type]
    common.choices.add().delta.content = "stale"
    return TextRun(common, list(texts))


def folded(*bursts: Burst) -> c.ChatCompletion:
    whole = Fold()
    for burst in bursts:
        whole.add(burst)
    return whole.completion()


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"service_tier": "flex", "system_fingerprint": "fp"},
        {"extra_json": '{"provider": "ours"}'},
    ],
)
def test_a_run_comes_to_what_its_chunks_come_to(more: dict[str, str]) -> None:
    bursts: list[Burst] = [
        [opening()],
        [run("a", "b", **more), run("c", **more)],
        [run("d", **more)],
    ]
    one_by_one: list[Burst] = [[chunk] for burst in bursts for chunk in chunks_of(burst)]

    assert folded(*bursts) == folded(*one_by_one)
    assert folded(*bursts).choices[0].message.content == "abcd"


def test_what_runs_have_in_common_may_change_between_them() -> None:
    first, second = run("a"), run("b", service_tier="flex")
    again = TextRun(first.common, ["c"])

    answer = folded([opening(), first, second, again])

    assert answer.choices[0].message.content == "abc"
    assert answer.service_tier == "flex"
