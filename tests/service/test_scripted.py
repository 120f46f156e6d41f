"""The scripted model's bursts: what is there at once comes at once, and is then accounted."""

from __future__ import annotations

import tracemalloc
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

import pytest
from engines import CALL, one_by_one
from hypothesis import given
from hypothesis import strategies as st
from serving import ask

from diglot.burst import Burst, TextRun, chunks_of
from diglot.service import errors
from diglot.service.meter import Meter
from diglot.service.scripted import ScriptedEngine, _repeated


async def bursts_of(script: dict[str, Any], **fields: Any) -> list[Burst]:
    """Those that came before it ended or failed."""
    bursts: list[Burst] = []
    with suppress(errors.EngineLost):
        async for burst in ScriptedEngine().stream(ask(script=script, **fields), CALL):
            bursts.append(burst)  # noqa: PERF401  # it may fail midway
    return bursts


def words(bursts: list[Burst]) -> list[int]:
    """How many each of them brought."""
    return [sum(len(said.texts) for said in burst if isinstance(said, TextRun)) for burst in bursts]


async def test_an_instant_answer_is_one_burst() -> None:
    [burst] = await bursts_of({"content": "a b c"})
    opening, run, end, usage = burst
    assert isinstance(run, TextRun)
    assert run.texts == ["a", " b", " c"]
    assert [len(chunk.choices) for chunk in chunks_of([opening, end, usage])] == [1, 1, 0]


async def test_a_long_one_comes_in_several_so_that_others_have_their_turn() -> None:
    assert words(await bursts_of({"tokens": 100})) == [31, 32, 32, 5]


async def test_a_slow_one_comes_word_by_word() -> None:
    bursts = await bursts_of({"content": "a b c", "interval_ms": 0.01})
    assert words(bursts) == [0, 1, 1, 1, 0]


async def test_of_a_million_words_only_those_under_way_take_room() -> None:
    request = ask(script={"tokens": 1_000_000, "content": " x y"}, stop=["z", "x x"])
    async with aclosing(ScriptedEngine().stream(request, CALL)) as bursts:
        tracemalloc.start()
        try:
            assert words([await anext(bursts), await anext(bursts)]) == [31, 32]
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < 2**18


@pytest.mark.parametrize("content", ["hi", " hi", "hi there", "hi there "])
async def test_it_says_as_many_tokens_as_it_is_told(content: str) -> None:
    [burst] = await bursts_of({"content": content, "tokens": 7})
    assert words([burst]) == [7]


@given(
    st.text("ab ", max_size=6),
    st.integers(0, 30),
    st.lists(st.text("ab ", min_size=1, max_size=14), max_size=3),
)
def test_it_stops_where_the_whole_text_would(content: str, count: int, stops: list[str]) -> None:
    request = ask(script={"content": content, "tokens": count})
    told = "".join(_repeated(request, content, count))
    for stop in stops:
        told = told.partition(stop)[0]
    request.stop.extend(stops)
    assert "".join(_repeated(request, content, count)) == told


@pytest.mark.parametrize("after", [1, 31, 32, 33, 64, 70])
@pytest.mark.parametrize("interval", [0, 0.01])
async def test_a_failure_comes_after_all_that_was_said_before_it(
    after: int, interval: float
) -> None:
    script = {"tokens": 100, "fail": "ENGINE_LOST", "fail_after": after, "interval_ms": interval}
    assert sum(words(await bursts_of(script))) == after


async def test_what_says_more_than_text_is_in_no_run() -> None:
    for script, fields in (
        ({"content": "a b"}, {"logprobs": True}),
        ({"refusal": "No, no."}, {}),
        ({"reasoning": "hm hm", "content": ""}, {}),
    ):
        [burst] = await bursts_of(script, **fields)
        assert words([burst]) == [0]
        assert len(burst) == 5


@pytest.mark.parametrize("interval", [0, 0.01])
async def test_who_leaves_in_the_middle_is_charged_for_the_bursts_that_came(
    interval: float,
) -> None:
    """To the token, also between the choices."""
    request = ask(n=2, script={"tokens": 40, "interval_ms": interval})
    whole = [burst async for burst in ScriptedEngine().stream(request, CALL)]
    engine = ScriptedEngine()
    for left_after in range(1, len(whole) + 1):
        call = replace(CALL, meter=Meter())
        async with aclosing(engine.stream(request, call)) as bursts:
            heard = [await anext(bursts) for _ in range(left_after)]
        usage = call.meter.usage()
        assert (usage.completion_tokens if usage else 0) == sum(words(heard))
        assert engine.active == 0
    assert sum(words(whole)) == 80


async def test_the_choices_of_one_answer_say_the_same() -> None:
    texts = {0: "", 1: ""}
    async for chunk in one_by_one(ScriptedEngine().stream(ask("a b c", n=2), CALL)):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content
    assert texts == {0: "a b c", 1: "a b c"}
