"""When a process that gives no answer is taken to hang."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from engines import forever, run_in_no_time

from diglot.service import pulse

Ask = Callable[[], Awaitable[object]]


class Process:
    """Answers the questions as it is told to; the rest not at all."""

    def __init__(self, *answers: Ask) -> None:
        self.asked = 0
        self._answers = iter(answers)

    async def __call__(self) -> None:
        self.asked += 1
        await next(self._answers, forever)()


async def at_once() -> None:
    """Alive."""


async def refused() -> None:
    raise ConnectionRefusedError


def lost_after(answers: Iterable[Ask], seconds: float = 6.0) -> tuple[int, float]:
    """The questions that it took, and the time."""
    process = Process(*answers)
    took = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await pulse.lost(process, seconds)
        took.append(loop.time() - began)

    run_in_no_time(main())
    return process.asked, round(took[0], 3)


def doubts(*answers: Ask) -> list[str]:
    """What is said of it until it is lost, and after how many questions."""
    process = Process(*answers)
    said: list[str] = []

    def say(what: str) -> Callable[[], None]:
        return lambda: said.append(f"{what} {process.asked}")

    run_in_no_time(pulse.lost(process, 6.0, say("silent"), say("back")))
    return said


def test_one_that_never_answers_is_lost_when_its_time_is_over() -> None:
    assert lost_after([]) == (6, 6.0)
    assert lost_after([], 30.0) == (6, 30.0)


def test_an_answer_makes_up_for_all_that_there_were_none_to() -> None:
    assert lost_after([*[forever] * 5, at_once]) == (12, 12.0)


def test_at_half_of_its_time_it_is_called_silent_once() -> None:
    assert doubts() == ["silent 3"]


def test_one_that_answers_in_time_is_never_doubted() -> None:
    assert doubts(forever, forever, at_once, forever, forever, at_once) == ["silent 9"]


def test_one_that_was_silent_is_counted_on_again_once_it_answers() -> None:
    assert doubts(*[forever] * 4, at_once, at_once) == ["silent 3", "back 5", "silent 9"]


def test_one_that_cannot_be_reached_has_as_much_time() -> None:
    """A refusal comes at once, and may be the last thing before it is reached again."""
    assert lost_after([refused] * 3) == (6, 6.0)


def test_a_clock_that_jumps_costs_one_question() -> None:
    """As after a machine's sleep: whoever was asked has not answered for hours."""

    async def asleep() -> None:
        loop: Any = asyncio.get_running_loop()
        loop._jump.jumped += 3600
        await forever()

    answers = [asleep, at_once] * 5
    asked, took = lost_after(answers)
    assert asked == len(answers) + 6
    assert took > 5 * 3600
