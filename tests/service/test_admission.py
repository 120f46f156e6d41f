"""Who is let in, in which order, and in how many places."""

from __future__ import annotations

import asyncio

from admitted import Asking, call, limits, settled

from diglot.service.admission import Admission


async def test_a_place_is_taken_at_once_where_there_is_room() -> None:
    admission = Admission(limits(running=2))
    places = [await admission.enter(call()) for _ in range(2)]
    assert (admission.running, admission.queued) == (2, 0)
    assert [place.waited for place in places] == [0, 0]
    for place in places:
        place.leave()
    assert admission.running == 0


async def test_callers_take_turns_and_each_is_served_in_order() -> None:
    """One with many requests does not delay another's single one."""
    asking = Asking(Admission(limits(queued=100)))
    for _ in range(20):
        await asking.ask("many")
    await asking.ask("few")
    await asking.ask("other")
    order = await asking.until_all_are_served()
    assert order[:4] == ["many", "many", "few", "other"]
    assert len(order) == 22


async def test_within_a_caller_first_come_first_served() -> None:
    admission = Admission(limits())
    running = await admission.enter(call())
    served: list[int] = []

    async def ask(number: int) -> None:
        place = await admission.enter(call())
        served.append(number)
        place.leave()

    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(ask(number))
        await settled()
        running.leave()
    assert served == list(range(10))


async def test_several_answers_take_as_many_places() -> None:
    asking = Asking(Admission(limits(running=4)))
    await asking.ask("one", answers=3)
    await asking.ask("one", answers=2)
    await asking.ask("another")
    assert asking.admission.running == 3
    # Not past the one that waits for two: requests for many would never have their turn.
    assert asking.order == ["one"]
    assert await asking.until_all_are_served() == ["one", "one", "another"]


async def test_more_answers_than_places_take_them_all() -> None:
    admission = Admission(limits(running=4))
    place = await admission.enter(call(), 100)
    assert admission.running == 4
    place.leave()
    assert admission.running == 0


async def test_who_waited_for_many_places_and_goes_lets_others_in() -> None:
    asking = Asking(Admission(limits(running=2)))
    await asking.ask("one")
    large = await asking.ask("large", answers=2)
    await asking.ask("another")
    assert asking.order == ["one"]
    large.cancel()
    await settled()
    assert asking.order == ["one", "another"]
    asking._tasks.remove(large)
    await asking.until_all_are_served()


async def test_wider_limits_let_in_who_waits() -> None:
    asking = Asking(Admission(limits()))
    for _ in range(4):
        await asking.ask("one")
    asking.admission.limits = limits(running=3)
    await settled()
    assert (asking.admission.running, asking.admission.queued) == (3, 1)
    await asking.until_all_are_served()


async def test_narrower_limits_let_what_runs_go_on() -> None:
    asking = Asking(Admission(limits(running=3)))
    for _ in range(3):
        await asking.ask("one", answers=1)
    await asking.ask("large", answers=3)
    asking.admission.limits = limits(running=1)
    assert asking.admission.running == 3
    await asking.leave()
    await asking.leave()
    assert (asking.admission.running, asking.admission.queued) == (1, 1)
    await asking.leave()
    assert asking.order[-1] == "large"
    await asking.until_all_are_served()


def test_several_processes_share_limits() -> None:
    assert limits(running=4, queued=64).share(3) == limits(running=2, queued=22)
    assert limits(running=1, queued=0).share(3) == limits(running=1, queued=0)
