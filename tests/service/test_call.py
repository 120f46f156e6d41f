"""What is known of a call, and what becomes of it on its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import fields, replace
from typing import Protocol

import pytest
from engines import forever

from diglot.service.call import Call, Expiry
from diglot.service.errors import EngineLost
from diglot.service.model_names import ModelNames
from diglot.service.routing.watch import Timeouts, Watch


def test_a_unary_call_is_the_same_call_in_one_piece() -> None:
    call = Call(
        request_id="req_1",
        caller="key",
        deadline=5.0,
        models=ModelNames(("m",)),
        trace=(("traceparent", "00-1-2-01"),),
    )
    for field in fields(Call):
        assert field.name in ("meter", "whole") or getattr(call, field.name) != field.default
    unary = call.in_one_piece()
    assert unary == replace(call, whole=True)
    assert unary.meter is call.meter
    assert (call.whole, unary.whole) == (False, True)


class Waits(Protocol):
    async def next(self, items: AsyncIterator[str], /) -> str: ...

    def disarm(self) -> None: ...


def expiry() -> Waits:
    return Expiry(asyncio.get_running_loop().time() + 0.01)


def watch() -> Waits:
    return Watch(Timeouts(first_token=0.01))


@pytest.mark.parametrize("limit", [expiry, watch])
async def test_who_ends_a_wait_takes_that_back_whatever_the_engine_says(
    limit: Callable[[], Waits],
) -> None:
    """Else its task would pass for cancelled in the connection's next call, too."""

    async def fails_late() -> AsyncIterator[str]:
        try:
            await forever()
        except asyncio.CancelledError:
            raise EngineLost("Gone.") from None
        yield ""

    waits = limit()
    with pytest.raises(EngineLost):
        await waits.next(fails_late())
    waits.disarm()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
