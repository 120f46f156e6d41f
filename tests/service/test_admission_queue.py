"""Those who wait: how many may, for how long, and what becomes of who leaves."""

from __future__ import annotations

import asyncio

import pytest
from admitted import Asking, call, limits, settled
from engines import run_in_no_time

from diglot.service.admission import Admission
from diglot.service.errors import DeadlineExceeded, QueueFull


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_again() -> None:
    admission = Admission(limits(queued=2))
    asking = Asking(admission)
    for _ in range(3):
        await asking.ask("one")
    with pytest.raises(QueueFull) as refused:
        await admission.enter(call())
    assert refused.value.retry_after == 1
    assert admission.queued == 2
    await asking.until_all_are_served()


def test_the_time_to_come_again_is_that_in_which_the_queue_will_be_served() -> None:
    async def main() -> None:
        admission = Admission(limits(running=2, queued=10))
        for _ in range(40):  # each answer takes 4 s, of late
            admission._left(0, 4)
        asking = Asking(admission)
        for _ in range(12):
            await asking.ask("one")
        with pytest.raises(QueueFull) as refused:
            await admission.enter(call())
        assert refused.value.retry_after == 20
        for _ in range(40):
            admission._left(0, 4000)
        with pytest.raises(QueueFull) as refused:
            await admission.enter(call())
        assert refused.value.retry_after == 60
        await asking.until_all_are_served()

    asyncio.run(main())


async def test_a_queue_that_one_caller_has_filled_has_room_for_another() -> None:
    """Who has most in it loses what came last, down to equal shares."""
    admission = Admission(limits(queued=4))
    asking = Asking(admission)
    many = [await asking.ask("many") for _ in range(5)]
    await asking.ask("few")
    assert isinstance(many[4].exception(), QueueFull)
    await asking.ask("few")
    assert isinstance(many[3].exception(), QueueFull)
    with pytest.raises(QueueFull):
        await admission.enter(call("few"))
    with pytest.raises(QueueFull):
        await admission.enter(call("many"))
    assert admission.queued == 4
    asking._tasks = [task for task in asking._tasks if task not in many[3:]]
    assert await asking.until_all_are_served() == ["many", "many", "few", "many", "few"]


async def test_with_as_many_callers_as_places_in_the_queue_nobody_is_driven_out() -> None:
    admission = Admission(limits(queued=3))
    asking = Asking(admission)
    await asking.ask("first")
    for caller in "abc":
        await asking.ask(caller)
    for caller in "dea":
        with pytest.raises(QueueFull):
            await admission.enter(call(caller))
    assert await asking.until_all_are_served() == ["first", *"abc"]


async def test_without_a_queue_there_is_room_or_a_refusal() -> None:
    admission = Admission(limits(queued=0))
    place = await admission.enter(call())
    with pytest.raises(QueueFull):
        await admission.enter(call("another"))
    place.leave()
    (await admission.enter(call())).leave()


def test_the_longest_wait_ends_in_a_refusal() -> None:
    async def main() -> None:
        admission = Admission(limits(queue_seconds=7))
        place = await admission.enter(call())
        began = asyncio.get_running_loop().time()
        with pytest.raises(QueueFull):
            await admission.enter(call())
        assert asyncio.get_running_loop().time() - began == pytest.approx(7)
        assert admission.queued == 0
        place.leave()
        assert admission.running == 0

    run_in_no_time(main())


def test_a_deadline_that_passes_in_the_queue_is_a_deadline() -> None:
    async def main() -> None:
        admission = Admission(limits(queue_seconds=7))
        place = await admission.enter(call())
        with pytest.raises(DeadlineExceeded):
            await admission.enter(call(deadline=asyncio.get_running_loop().time() + 3))
        assert admission.queued == 0
        place.leave()

    run_in_no_time(main())


def test_who_would_be_answered_too_late_is_refused_at_once() -> None:
    """By what answers took of late; in the turn that is its own."""

    async def main() -> None:
        admission = Admission(limits(running=2, queued=100))
        for _ in range(100):
            admission._left(0, 4)
        asking = Asking(admission)
        for _ in range(8):  # six wait: the last one's turn comes in 12 s
            await asking.ask("many")
        now = asyncio.get_running_loop().time()
        with pytest.raises(QueueFull):
            await admission.enter(call("many", now + 18))
        with pytest.raises(QueueFull):
            await admission.enter(call("few", now + 5))
        assert admission.queued == 6
        few = asyncio.ensure_future(admission.enter(call("few", now + 8)))
        many = asyncio.ensure_future(admission.enter(call("many", now + 22)))
        await settled()
        assert admission.queued == 8
        while asking.places:
            await asking.leave()
        (await few).leave()
        (await many).leave()
        assert (admission.running, admission.queued) == (0, 0)

    run_in_no_time(main())


def test_the_wait_is_told() -> None:
    async def main() -> None:
        admission = Admission(limits())
        first = await admission.enter(call())
        asyncio.get_running_loop().call_later(3, first.leave)
        second = await admission.enter(call())
        assert second.waited == pytest.approx(3)
        second.leave()

    run_in_no_time(main())


async def test_who_leaves_the_queue_frees_its_place_in_it_at_once() -> None:
    admission = Admission(limits(queued=1))
    asking = Asking(admission)
    await asking.ask("runs")
    waiting = await asking.ask("waits")
    waiting.cancel()
    await settled()
    assert admission.queued == 0
    asking._tasks.remove(waiting)
    await asking.ask("comes")
    assert await asking.until_all_are_served() == ["runs", "comes"]


async def test_a_place_handed_to_who_is_cancelled_in_the_same_moment_is_not_lost() -> None:
    admission = Admission(limits())
    asking = Asking(admission)
    await asking.ask("runs")
    waiting = await asking.ask("waits")
    asking.places.pop().leave()  # the place is handed over …
    assert admission.running == 1
    waiting.cancel()  # … to one who will never hear of it
    await settled()
    assert waiting.cancelled()
    assert (admission.running, admission.queued) == (0, 0)
    place = await admission.enter(call())
    place.leave()


async def test_a_place_that_is_left_while_who_waits_is_being_cancelled_goes_to_the_next() -> None:
    admission = Admission(limits())
    asking = Asking(admission)
    await asking.ask("runs")
    waiting = await asking.ask("waits")
    await asking.ask("next")
    asking._tasks.remove(waiting)
    waiting.cancel()
    await asking.leave()
    assert asking.order == ["runs", "next"]
    await asking.until_all_are_served()


async def test_who_is_refused_and_cancelled_in_the_same_moment_leaves_no_trace() -> None:
    admission = Admission(limits(queued=1))
    asking = Asking(admission)
    await asking.ask("many")
    waiting = await asking.ask("many")
    admission._expel(next(iter(admission._lines["many"])), QueueFull(1))
    waiting.cancel()
    await settled()
    assert waiting.cancelled()
    assert (admission.running, admission.queued) == (1, 0)
