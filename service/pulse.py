"""Whether a process that runs is alive: it is asked time and again, and should answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

UNANSWERED = 6
"""Questions in a row without an answer that mean a process hangs. They are counted, and not the
time: of a machine that slept, or was stopped and went on, all clocks say that nobody has answered
for hours, and it costs one question."""

SILENT = UNANSWERED // 2
"""As many mean that it should not be counted on meanwhile."""

logger = logging.getLogger("diglot.pulse")


async def lost(
    ask: Callable[[], Awaitable[object]],
    seconds: float,
    silent: Callable[[], None] = lambda: None,
    back: Callable[[], None] = lambda: None,
) -> None:
    """Returns once the process has not answered UNANSWERED questions in a row, one after the
    other in `seconds` altogether. That it refuses one, or cannot be reached, is no answer.

    Calls `silent` at half of that, and `back` if it answers after all.
    """
    loop = asyncio.get_running_loop()
    each = seconds / UNANSWERED
    unanswered = 0
    while unanswered < UNANSWERED:
        until = loop.time() + each
        try:
            async with asyncio.timeout_at(until):
                await ask()
        except Exception as error:  # whatever it was, it is no answer
            unanswered += 1
            logger.debug("no answer", extra={"unanswered": unanswered, "reason": repr(error)})
            if unanswered == SILENT:
                silent()
        else:
            if unanswered >= SILENT:
                back()
            unanswered = 0
        await asyncio.sleep(until - loop.time())
