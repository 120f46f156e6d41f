"""Models that stand in for another of which no deployment answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from engines import CALL, BurstEngine, FakeEngine, Step, forever, one_by_one
from routed import DOWN, group, said, text_of
from serving import ask

from diglot.burst import Burst, TextRun
from diglot.service import errors
from diglot.service.admission import Admission, Limits
from diglot.service.call import Call
from diglot.service.routing import Deployment, Group, RoutedEngine
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk


async def test_when_all_fail_the_fallback_answers_under_its_name() -> None:
    engines = [FakeEngine(DOWN), FakeEngine(DOWN)]
    engine = RoutedEngine(group(*engines), [group(FakeEngine("stand-in"), name="other")])
    chunks = [chunk async for chunk in one_by_one(engine.stream(ask(), CALL))]
    assert said(chunks[0]) == "stand-in"
    assert {chunk.model for chunk in chunks} == {"other"}
    assert [each.asked for each in engines] == [1, 1]


async def test_a_fallback_names_itself_on_chunks_that_came_together_too() -> None:
    opening, common = ChatCompletionChunk(model="its own"), ChatCompletionChunk(model="its own")
    common.choices.add().delta.content = "a"
    burst: Burst = [opening, TextRun(common, ["a", "b"]), TextRun(common, ["c"])]
    engine = RoutedEngine(group(FakeEngine(DOWN)), [group(BurstEngine(burst), name="other")])
    chunks = [chunk async for chunk in one_by_one(engine.stream(ask(), CALL))]
    assert [chunk.model for chunk in chunks] == ["other"] * 4


async def test_fallbacks_are_asked_in_their_order() -> None:
    second = FakeEngine(errors.RateLimited("Slow down."))
    engine = RoutedEngine(
        group(FakeEngine(DOWN)), [group(second, name="b"), group(FakeEngine("third"), name="c")]
    )
    assert await text_of(engine, ask()) == "third"
    assert second.asked == 1


@pytest.mark.parametrize(
    "failure",
    [errors.ContextLengthExceeded(10, 20), errors.UpstreamInvalid("Garbage.")],
    ids=["refusal", "failure"],
)
async def test_a_fallback_that_fails_too_leaves_the_first_failure(failure: Exception) -> None:
    """A caller cannot do anything about the limits of a model that it never asked for."""
    limited = errors.RateLimited("Slow down.", retry_after=7)
    engine = RoutedEngine(group(FakeEngine(limited)), [group(FakeEngine(failure), name="other")])
    with pytest.raises(errors.RateLimited) as caught:
        await text_of(engine, ask())
    assert caught.value is limited


class Noting(FakeEngine):
    """With the last request that came."""

    def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        self.request = request
        return super().stream(request, call)


@pytest.mark.parametrize(
    ("fields", "limited"),
    [
        ({}, {"max_completion_tokens": 10}),
        ({"max_completion_tokens": 7}, {"max_completion_tokens": 7}),
        ({"max_completion_tokens": 70}, {"max_completion_tokens": 10}),
        ({"max_tokens": 7}, {"max_tokens": 7}),
        ({"max_tokens": 70}, {"max_tokens": 10}),
    ],
)
async def test_a_fallback_says_no_more_than_it_may(
    fields: dict[str, Any], limited: dict[str, Any]
) -> None:
    """Whatever the model may that was asked for; whose request stays as it is."""
    fallback = Noting("short")
    other = Group("other", [Deployment("d", fallback)], max_completion_tokens=10)
    request = ask(**fields)
    assert await text_of(RoutedEngine(group(FakeEngine(DOWN)), [other]), request) == "short"
    assert fallback.request == ask(**limited)
    assert request == ask(**fields)


async def test_a_fallback_that_cannot_do_it_is_not_asked() -> None:
    fallback = FakeEngine("no", capabilities=frozenset())
    engine = RoutedEngine(group(FakeEngine(DOWN)), [group(fallback, name="other")])
    with pytest.raises(errors.UpstreamUnavailable):
        await text_of(engine, ask(reasoning_effort="high"))
    assert fallback.asked == 0
    assert await text_of(engine, ask()) == "no"


async def test_a_fallback_that_is_full_has_failed() -> None:
    """Once for all of its deployments; the one after it has room."""
    full = Admission(Limits(running=1, queued=0, queue_seconds=1))
    place = await full.enter(CALL)
    others = [FakeEngine("no"), FakeEngine("no")]
    fallbacks = [
        group(*others, name="b", admission=full),
        group(FakeEngine("third"), name="c"),
    ]
    engine = RoutedEngine(group(FakeEngine(DOWN)), fallbacks)
    assert await text_of(engine, ask()) == "third"
    alone = RoutedEngine(group(FakeEngine(DOWN)), fallbacks[:1])
    with pytest.raises(errors.UpstreamUnavailable):
        await text_of(alone, ask())
    assert [each.asked for each in others] == [0, 0]
    place.leave()
    assert await text_of(alone, ask()) == "no"


@pytest.mark.parametrize("steps", [("half", DOWN), ("half", forever), (DOWN,), ("whole",)])
async def test_a_fallbacks_place_is_left_however_it_ends(steps: tuple[Step, ...]) -> None:
    """As many as answers were asked for."""
    admission = Admission(Limits(running=3, queued=0, queue_seconds=1))
    there = FakeEngine(*steps)
    other = group(there, name="other", admission=admission)
    chunks = RoutedEngine(group(FakeEngine(DOWN)), [other]).stream(ask(n=2), CALL)
    if steps[0] is not DOWN:
        await anext(chunks)
        assert admission.running == 2
    if steps[-1] is DOWN:
        with pytest.raises(errors.UpstreamUnavailable):
            await anext(chunks)
    await chunks.aclose()
    assert (admission.running, there.active) == (0, 0)
