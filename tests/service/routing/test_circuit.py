"""When a deployment is left alone, and when it is tried again."""

from __future__ import annotations

from engines import Clock

from diglot.service.routing.circuit import (
    FAILURES,
    FIRST_PAUSE,
    LONGEST_ASKED,
    LONGEST_PAUSE,
    Circuit,
)


def fail(circuit: Circuit, *, retry_after: float | None = None, spare: bool = True) -> None:
    probe = circuit.enter()
    circuit.failed(probe, retry_after, spare=spare)
    circuit.leave(probe)


def answer(circuit: Circuit) -> None:
    probe = circuit.enter()
    circuit.answered(probe)
    circuit.succeeded()
    circuit.leave(probe)


def admits(circuit: Circuit) -> bool:
    return circuit.admits


def opened(clock: Clock, **how: float) -> Circuit:
    circuit = Circuit(clock)
    for _ in range(FAILURES):
        fail(circuit, **how)  # type: ignore[arg-type]  # only retry_after is given
    return circuit


def test_it_opens_after_failures_in_a_row() -> None:
    circuit = Circuit(Clock())
    for _ in range(FAILURES - 1):
        fail(circuit)
    answer(circuit)
    for _ in range(FAILURES - 1):
        fail(circuit)
    assert admits(circuit)
    fail(circuit)
    assert not admits(circuit)


def test_it_stays_closed_where_nobody_else_is_left() -> None:
    """Else one worker's hiccup becomes an outage of our own making."""
    circuit = Circuit(Clock())
    for _ in range(10 * FAILURES):
        fail(circuit, retry_after=30, spare=False)
    assert admits(circuit)
    fail(circuit)
    assert not admits(circuit), "as soon as there is somebody else"


def test_after_the_pause_one_request_is_a_probe() -> None:
    clock = Clock()
    circuit = opened(clock)
    clock.now += FIRST_PAUSE - 0.01
    assert not admits(circuit)
    clock.now += 0.01
    assert admits(circuit)
    probe = circuit.enter()
    assert probe
    assert not admits(circuit), "the others wait for what it finds"
    circuit.answered(probe)
    assert admits(circuit), "at its first token, not at its end"
    assert circuit.closed


def test_a_probe_that_its_caller_gives_up_is_followed_by_another() -> None:
    clock = Clock()
    circuit = opened(clock)
    clock.now += FIRST_PAUSE
    circuit.leave(circuit.enter())
    assert not circuit.closed
    assert admits(circuit)


def test_pauses_double_up_to_a_limit_until_it_is_well_again() -> None:
    clock = Clock()
    circuit = opened(clock)
    pauses = []
    for _ in range(10):
        start = clock.now
        while not admits(circuit):
            clock.now += 0.5
        pauses.append(clock.now - start)
        fail(circuit)
    assert pauses == [1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE, 60]
    clock.now += LONGEST_PAUSE
    answer(circuit)
    for _ in range(FAILURES):
        fail(circuit)
    clock.now += FIRST_PAUSE
    assert admits(circuit)


def test_a_deployment_that_asks_for_a_pause_gets_it_at_once() -> None:
    clock = Clock()
    circuit = Circuit(clock)
    fail(circuit, retry_after=7)
    assert not admits(circuit)
    clock.now += 6.9
    assert not admits(circuit)
    clock.now += 0.1
    assert admits(circuit)


def test_a_very_long_pause_is_not_believed() -> None:
    clock = Clock()
    circuit = Circuit(clock)
    fail(circuit, retry_after=86400)
    clock.now += LONGEST_ASKED
    assert admits(circuit)


def test_requests_from_before_it_opened_change_nothing() -> None:
    """A crash fails a hundred at once: that is one piece of news."""
    clock = Clock()
    circuit = Circuit(clock)
    probes = [circuit.enter() for _ in range(100)]
    for probe in probes[:90]:
        circuit.failed(probe, None, spare=True)
        circuit.leave(probe)
    for probe in probes[90:]:
        circuit.answered(probe)
        circuit.succeeded()
        circuit.leave(probe)
    assert not admits(circuit)
    clock.now += FIRST_PAUSE
    assert admits(circuit)
