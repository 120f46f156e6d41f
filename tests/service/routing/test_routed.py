"""A model that runs in several places: who is asked, and who takes over when that fails."""

from __future__ import annotations

import asyncio
import logging

import pytest
from engines import CALL, Clock, FakeEngine, forever, one_by_one, run_in_no_time
from routed import DOWN, group, in_order, in_order_of, said, text_of
from serving import ask

from diglot.service import errors
from diglot.service.call import Call
from diglot.service.capability import Capability
from diglot.service.routing import RoutedEngine, Timeouts
from diglot.service.routing.budget import RetryBudget
from diglot.service.routing.circuit import FAILURES, Circuit

RETRYABLE = [
    DOWN,
    errors.NotReady("Not ready."),
    errors.EngineLost("Lost."),
    errors.RateLimited("Slow down.", retry_after=7),
    errors.UpstreamInvalid("Garbage."),
]
FINAL = [
    errors.UpstreamRefused("No.", details={"http_status": "422"}),
    errors.ContextLengthExceeded(10, 20),
    errors.InvalidSchema("No schema."),
    RuntimeError("a bug"),
]


@pytest.mark.parametrize("failure", RETRYABLE, ids=lambda error: type(error).__name__)
async def test_a_failure_before_the_first_token_goes_unnoticed(
    failure: errors.ChatError, caplog: pytest.LogCaptureFixture
) -> None:
    """And stands in the log, by the deployment's name."""
    first, second = FakeEngine(failure), FakeEngine("second")
    engine = RoutedEngine(group(first, second))
    assert await text_of(engine, in_order([first, second])) == "second"
    assert (first.asked, second.asked) == (1, 1)
    [record] = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert vars(record)["deployment"] == "d0"
    assert vars(record)["reason"] == errors.name_of(failure).lower()


@pytest.mark.parametrize("failure", FINAL, ids=lambda error: type(error).__name__)
async def test_what_is_about_the_request_is_passed_on(failure: Exception) -> None:
    first, second = FakeEngine(failure), FakeEngine("second")
    engine = RoutedEngine(group(first, second), [group(FakeEngine("stand-in"), name="other")])
    with pytest.raises(type(failure)) as caught:
        await text_of(engine, in_order([first, second]))
    assert caught.value is failure
    assert second.asked == 0


@pytest.mark.parametrize("failure", RETRYABLE, ids=lambda error: type(error).__name__)
async def test_after_the_first_token_a_failure_is_the_end(failure: errors.ChatError) -> None:
    first, second = FakeEngine("half", failure), FakeEngine("second")
    engine = RoutedEngine(group(first, second), [group(FakeEngine("stand-in"), name="other")])
    chunks = one_by_one(engine.stream(in_order([first, second]), CALL))
    assert said(await anext(chunks)) == "half"
    with pytest.raises(type(failure)):
        await anext(chunks)
    assert second.asked == 0


async def test_the_last_one_in_good_standing_is_asked_whatever_happens() -> None:
    """Two that fail always: one is left alone, the other one told on, one call each."""
    engines = [FakeEngine(DOWN), FakeEngine(DOWN)]
    deployments = group(*engines)
    engine = RoutedEngine(deployments)
    for _ in range(FAILURES):
        with pytest.raises(errors.UpstreamUnavailable):
            await text_of(engine, ask())
    assert [each.circuit.closed for each in deployments.deployments].count(True) == 1
    before = sum(each.asked for each in engines)
    for number in range(20):
        with pytest.raises(errors.UpstreamUnavailable):
            await text_of(engine, ask(str(number)))
    assert sum(each.asked for each in engines) == before + 20


async def test_a_deployment_that_failed_gets_its_requests_back() -> None:
    """After the pause: one that finds out, then all."""
    clock = Clock()
    first, second = FakeEngine(DOWN), FakeEngine("second")
    deployments = group(first, second)
    deployments.deployments[0].circuit = Circuit(clock)
    engine, request = RoutedEngine(deployments), in_order([first, second])
    for _ in range(FAILURES + 3):
        assert await text_of(engine, request) == "second"
    assert first.asked == FAILURES
    first.steps = ("first",)
    assert await text_of(engine, request) == "second"
    clock.now += 60
    assert await text_of(engine, request) == "first"
    assert await text_of(engine, request) == "first"


async def test_a_429_with_retry_after_is_honoured() -> None:
    clock = Clock()
    first = FakeEngine("first")
    first.then = [(errors.RateLimited("Slow down.", retry_after=7),)]
    deployments = group(first, FakeEngine("second"))
    deployments.deployments[0].circuit = Circuit(clock)
    engine, request = RoutedEngine(deployments), in_order_of(deployments)
    assert [await text_of(engine, request) for _ in range(3)] == ["second"] * 3
    assert first.asked == 1
    clock.now += 7
    assert await text_of(engine, request) == "first"


async def test_one_that_is_not_ready_is_passed_over() -> None:
    first, second = FakeEngine("first", ready=False), FakeEngine("second")
    engine, request = RoutedEngine(group(first, second)), in_order([first, second])
    assert await text_of(engine, request) == "second"
    first.readiness.up()
    assert await text_of(engine, request) == "first"


async def test_when_none_is_ready_the_model_says_so() -> None:
    first = FakeEngine(errors.NotReady("The model is being loaded."), ready=False)
    engine = RoutedEngine(group(first))
    with pytest.raises(errors.NotReady, match="being loaded"):
        await text_of(engine, ask())
    assert not engine.readiness.ready
    assert engine.readiness.reason == "d0: not started"


async def test_it_is_ready_while_any_deployment_is() -> None:
    engines = [FakeEngine(ready=False), FakeEngine(ready=False)]
    readiness = RoutedEngine(group(*engines)).readiness
    news: list[bool] = [readiness.ready]
    readiness.subscribe(lambda: news.append(readiness.ready))
    first, second = (engine.readiness for engine in engines)
    second.up()
    first.up()
    second.down("gone")
    first.down("gone too")
    assert news == [False, True, False]
    assert readiness.reason == "d0: gone too; d1: gone"


async def test_it_starts_and_closes_its_own() -> None:
    own, others = FakeEngine(ready=False), FakeEngine(ready=False)
    engine = RoutedEngine(group(own), [group(others, name="other")])
    await engine.start()
    assert own.readiness.ready
    assert not others.readiness.ready
    await engine.close()
    assert own.closed
    assert not others.closed


async def test_a_request_goes_to_one_that_can_do_what_it_needs() -> None:
    tools, images = FakeEngine("a", capabilities=frozenset({Capability.TOOLS})), FakeEngine("b")
    engine = RoutedEngine(group(tools, images))
    assert Capability.IMAGES in engine.capabilities
    for number in range(20):
        request = ask(reasoning_effort="high", prompt_cache_key=str(number))
        assert await text_of(engine, request) == "b"
    assert tools.asked == 0


async def test_what_no_single_one_can_do_is_refused_in_words() -> None:
    can = [frozenset({Capability.REASONING}), frozenset({Capability.VERBOSITY})]
    engine = RoutedEngine(group(*(FakeEngine(capabilities=each) for each in can)))
    request = ask(reasoning_effort="high", verbosity="low")
    with pytest.raises(errors.UnsupportedParameter, match="verbosity"):
        await text_of(engine, request)


async def test_an_outage_is_not_multiplied() -> None:
    clock = Clock()
    engines = [FakeEngine(DOWN) for _ in range(3)]
    engine = RoutedEngine(
        group(*engines), [group(FakeEngine(DOWN), name="other")], RetryBudget(clock)
    )
    for number in range(1000):
        with pytest.raises(errors.UpstreamUnavailable):
            await text_of(engine, ask(str(number)))
    repeated = sum(each.asked for each in engines) - 1000
    assert repeated <= 100 + 0.2 * 1000


async def test_nothing_is_repeated_after_the_deadline() -> None:
    loop = asyncio.get_running_loop()
    call = Call("req", "tester", deadline=loop.time() - 1)
    second = FakeEngine("second")
    engines = [FakeEngine(DOWN), second]
    with pytest.raises(errors.UpstreamUnavailable):
        async for _ in RoutedEngine(group(*engines)).stream(in_order(engines), call):
            pass
    assert second.asked == 0


async def test_who_leaves_frees_the_deployment_at_once() -> None:
    """Before the first token, and after; and it is nobody's fault."""
    for steps in [(forever,), ("half", forever)]:
        first = FakeEngine(*steps)
        deployments = group(first, FakeEngine())
        engine = RoutedEngine(deployments)
        asking = asyncio.ensure_future(text_of(engine, in_order_of(deployments)))
        while not first.active:
            await asyncio.sleep(0)
        assert deployments.deployments[0].in_flight == 1
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert [each.in_flight for each in deployments.deployments] == [0, 0]
        assert first.active == 0


async def test_a_stream_that_is_closed_closes_the_deployments() -> None:
    first = FakeEngine("one", "two")
    deployments = group(first, FakeEngine())
    chunks = RoutedEngine(deployments).stream(in_order_of(deployments), CALL)
    await anext(chunks)
    await chunks.aclose()
    assert (first.active, deployments.deployments[0].in_flight) == (0, 0)


def test_one_that_hangs_costs_its_timeout_and_no_more() -> None:
    async def main() -> None:
        first, second = FakeEngine(forever), FakeEngine("second")
        engine = RoutedEngine(group(first, second, timeouts=Timeouts(first_token=3)))
        began = asyncio.get_running_loop().time()
        assert await text_of(engine, in_order([first, second])) == "second"
        assert asyncio.get_running_loop().time() - began == pytest.approx(3)
        assert first.active == 0

    run_in_no_time(main())


def test_one_that_goes_silent_ends_the_stream_with_an_error() -> None:
    async def main() -> None:
        first, second = FakeEngine("half", forever), FakeEngine("second")
        deployments = group(first, second, timeouts=Timeouts(between_tokens=2))
        engine = RoutedEngine(deployments)
        with pytest.raises(errors.UpstreamUnavailable, match="went silent for 2 s"):
            await text_of(engine, in_order([first, second]))
        assert (second.asked, first.active) == (0, 0)

    run_in_no_time(main())


def test_conversations_share_the_deployments_and_stay() -> None:
    """A hundred at a time, ten turns each."""

    async def main() -> None:
        engines = [FakeEngine(forever) for _ in range(4)]
        deployments = group(*engines)
        engine = RoutedEngine(deployments)
        asking = [
            asyncio.ensure_future(text_of(engine, ask(prompt_cache_key=str(number))))
            for number in range(100)
        ]
        while sum(each.active for each in engines) < 100:
            await asyncio.sleep(0)
        assert all(15 <= each.in_flight <= 32 for each in deployments.deployments)
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert all(each.in_flight == 0 for each in deployments.deployments)

    run_in_no_time(main())
