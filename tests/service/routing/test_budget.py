"""An outage is not multiplied by repeating what it fails."""

from __future__ import annotations

from engines import Clock

from diglot.service.routing.budget import PER_SECOND, RATIO, SAVED, RetryBudget


def spent(budget: RetryBudget) -> int:
    count = 0
    while budget.spend():
        count += 1
    return count


def test_a_crash_is_covered() -> None:
    assert spent(RetryBudget(Clock())) == SAVED


def test_then_a_share_of_the_requests_and_a_few_a_second() -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    spent(budget)
    for _ in range(200):
        budget.earn()
    assert spent(budget) in (int(200 * RATIO) - 1, int(200 * RATIO))  # a fifth is no binary number
    clock.now += 2
    assert spent(budget) in (int(2 * PER_SECOND), int(2 * PER_SECOND) + 1)


def test_savings_are_bounded() -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    clock.now += 86400
    for _ in range(10_000):
        budget.earn()
    assert spent(budget) == SAVED
