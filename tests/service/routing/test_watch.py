"""A deployment that takes too long, on a clock that goes exactly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from engines import CALL, FakeEngine, Step, forever, pause, run_in_no_time
from serving import ask

from diglot.service.call import Call, Expiry
from diglot.service.errors import DeadlineExceeded, UpstreamUnavailable
from diglot.service.routing import Deployment, Timeouts

WORD = "word"


def answers(steps: tuple[Step, ...], timeouts: Timeouts, *, slow_reader: float = 0) -> float:
    """How long the answer takes. Whatever its end, nothing of it is left."""
    took = 0.0

    async def main() -> None:
        nonlocal took
        engine = FakeEngine(*steps)
        deployment = Deployment("d", engine, timeouts=timeouts)
        began = asyncio.get_running_loop().time()
        try:
            async for _ in deployment.stream(ask(), CALL, lambda: True):
                await asyncio.sleep(slow_reader)
        finally:
            took = asyncio.get_running_loop().time() - began
            assert engine.active == deployment.in_flight == 0

    try:
        run_in_no_time(main())
    except UpstreamUnavailable as late:
        raise Late(str(late), took) from None
    return took


class Late(Exception):
    """What the deployment's failure said, and when."""


@pytest.mark.parametrize(
    ("steps", "timeouts", "words", "after"),
    [
        ((forever,), Timeouts(first_token=3), "began no answer within 3 s", 3),
        ((pause(3.5), WORD), Timeouts(first_token=3), "began no answer within 3 s", 3),
        ((WORD, forever), Timeouts(between_tokens=2), "went silent for 2 s in the middle", 2),
        ((WORD, forever), Timeouts(first_token=9, between_tokens=2), "went silent for 2 s", 2),
        (
            (pause(8), WORD, pause(1), WORD, pause(3), WORD),
            Timeouts(first_token=9, between_tokens=2),
            "went silent for 2 s",
            11,
        ),
        ((forever,), Timeouts(total=5), "did not finish its answer within 5 s", 5),
        ((pause(1), WORD) * 9, Timeouts(2, 2, 5), "did not finish its answer within 5 s", 5),
    ],
)
def test_it_is_ended(steps: tuple[Step, ...], timeouts: Timeouts, words: str, after: float) -> None:
    with pytest.raises(Late) as late:
        answers(steps, timeouts)
    message, took = late.value.args
    assert words in message
    assert took == pytest.approx(after)


@pytest.mark.parametrize(
    ("steps", "timeouts", "takes"),
    [
        ((pause(2.9), WORD, pause(50), WORD), Timeouts(first_token=3), 52.9),
        ((pause(50), WORD, *(pause(1.9), WORD) * 20), Timeouts(between_tokens=2), 88),
        ((pause(1), WORD) * 4, Timeouts(2, 2, 5), 4),
        ((pause(86400), WORD), Timeouts(), 86400),
    ],
)
def test_it_is_in_time(steps: tuple[Step, ...], timeouts: Timeouts, takes: float) -> None:
    assert answers(steps, timeouts) == pytest.approx(takes)


def test_a_slow_reader_is_not_the_deployments_fault() -> None:
    assert answers((WORD,) * 5, Timeouts(3, 2), slow_reader=100) == pytest.approx(600)


def test_the_total_counts_a_slow_reader_too() -> None:
    """It bounds what a call can hold; but that is not held against the deployment."""

    async def main() -> None:
        deployment = Deployment("d", FakeEngine(*[WORD] * 5), timeouts=Timeouts(total=150))
        chunks = deployment.stream(ask(), CALL, lambda: True)
        for _ in range(2):
            await anext(chunks)
            await asyncio.sleep(100)
        with pytest.raises(DeadlineExceeded):
            await anext(chunks)
        assert deployment.in_flight == 0

    run_in_no_time(main())


def test_the_callers_deadline_is_told_from_the_deployments_time() -> None:
    """Also where both pass at the same moment."""

    async def main() -> None:
        for deadline, limit in ((1, 2), (2, 2)):
            call = Call("req", "tester", asyncio.get_running_loop().time() + deadline)
            assert call.deadline is not None
            expiry = Expiry(call.deadline)
            deployment = Deployment("d", FakeEngine(forever), timeouts=Timeouts(limit))
            chunks = deployment.stream(ask(), call, lambda: True)
            with pytest.raises(DeadlineExceeded):
                await expiry.next(chunks)
            assert deployment.in_flight == 0
            assert deployment.circuit.closed
            task = asyncio.current_task()
            assert task is not None
            assert not task.cancelling()

    run_in_no_time(main())


def test_a_chunk_sets_no_timer() -> None:
    """What a token costs is paid a hundred times a second by every call."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        setting, set_timers = loop.call_at, []

        def call_at(*arguments: object, **options: object) -> asyncio.TimerHandle:
            set_timers.append(arguments)
            return setting(*arguments, **options)  # type: ignore[arg-type]

        loop.call_at = call_at  # type: ignore[method-assign]
        deployment = Deployment("d", FakeEngine(*[WORD] * 1000), timeouts=Timeouts(3, 2, 60))
        chunks: AsyncIterator[object] = deployment.stream(ask(), CALL, lambda: True)
        assert len([chunk async for chunk in chunks]) == 1001
        assert len(set_timers) == 2  # for the first token, and for all the others

    run_in_no_time(main())
