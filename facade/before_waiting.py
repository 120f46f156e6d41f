"""`await` that does something else first, if it has to wait."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from typing import Any, TypeVar

_T = TypeVar("_T")


@types.coroutine
def before_waiting(
    awaitable: Awaitable[_T], flush: Callable[[], Awaitable[None]]
) -> Generator[Any, Any, _T]:
    """Awaits `awaitable`; if that is not done at once, `flush()` is awaited to its end first.

    So a loop over a source can collect what the source has ready, and write it in one
    piece just before it waits: never later than it must, never more often than it must.

    What is awaited is begun before the flush, and goes on after it. It may be done by
    then, which is as good. A cancellation during the flush is raised inside of what is
    awaited, at the place where it waits, so that it can clean up. If the flush fails, what
    is awaited is cancelled likewise, since nothing is wrong with it but that nobody reads
    any more; and then the failure is raised.
    """
    waiting = awaitable.__await__()
    try:
        # What a coroutine yields to its task is the future that it waits for.
        future = next(waiting)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # StopIteration is untyped

    failure: BaseException | None = None
    try:
        yield from flush().__await__()
    except Exception as error:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()  # strikes at the next place to wait: that of what is awaited
        try:
            with suppress(Exception, asyncio.CancelledError):
                yield from _on(waiting, future, None)
        finally:
            task.uncancel()
        raise error
    except BaseException as error:
        failure = error
        # A task that is cancelled cancels what it waits for; it has not seen this one.
        if isinstance(error, asyncio.CancelledError) and asyncio.isfuture(future):
            future.cancel()
    return (yield from _on(waiting, future, failure))


def _on(
    waiting: Generator[Any, Any, _T], future: Any, failure: BaseException | None
) -> Generator[Any, Any, _T]:
    """Goes on with what waits for `future`."""
    # From here on this is `yield from waiting`, written out because its first step is
    # taken already.
    while True:
        value: Any = None
        if failure is None:
            try:
                value = yield future
            except GeneratorExit:
                waiting.close()
                raise
            except BaseException as error:
                failure = error
        try:
            if failure is None:
                future = waiting.send(value)
            else:
                thrown, failure = failure, None
                future = waiting.throw(thrown)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # StopIteration is untyped
