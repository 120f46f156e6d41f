"""Whether a model's process that was ready is alive, and gets on with its work.

Two questions, each asked time and again (pulse.py):

    /health   is answered by a thread of its own, however long a prompt is that is being read:
              without an answer the whole process hangs
    /slots    says of each answer how far it has come, in tokens read and written. Where there are
              some under way, and two questions in a row find all of them where they were, the
              thread that decodes has not finished a single batch, or hangs. With nothing under
              way it is that thread which answers, or does not

What a batch is, `ChildSettings.batch_tokens` says: 32 tokens, with images 512, or an image.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
from pydantic_core import from_json

from .. import pulse
from ..readiness import Readiness

STALLED_AFTER = 120.0
"""Seconds without a batch that are too many: even a processor that reads one token in three."""
STALLED_WITH_IMAGES = 600.0
"""Likewise: one thread may take minutes to encode an image, and nothing moves meanwhile."""

logger = logging.getLogger("diglot.embedded")

Read = Callable[[], Awaitable[bytes]]


class NoProgressError(Exception):
    """What is under way is where it was."""


class Progress:
    """Asked whether there is any. `slots` reads what llama.cpp says of its slots."""

    def __init__(self, slots: Read) -> None:
        self._slots = slots
        self._before = b""

    async def __call__(self) -> None:
        """Raises NoProgressError. Where nothing is under way, all is well."""
        now = await self._slots()
        before, self._before = self._before, now
        if now == before and _under_way(now):
            raise NoProgressError


def _under_way(slots: bytes) -> bool:
    try:
        listed = from_json(slots)
    except ValueError:
        return False
    entries = listed if isinstance(listed, list) else ()
    return any(isinstance(slot, dict) and slot.get("is_processing") is True for slot in entries)


@dataclass(frozen=True, slots=True)
class Liveness:
    """Of a process that has just become ready. While it is doubtful, it is not."""

    url: str
    """Where its server is."""
    api_key: str
    hang_seconds: float
    stall_seconds: float
    readiness: Readiness
    _doubts: set[str] = field(default_factory=set, init=False)

    async def lost(self) -> str:
        """Returns why, once it has to be given up."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(headers=headers, connector=connector) as http:

            async def get(path: str) -> bytes:
                async with http.get(self.url + path) as answer:
                    return await answer.read()

            hangs = asyncio.create_task(
                self._given_up(lambda: get("/health"), self.hang_seconds, "given no sign of life")
            )
            stalls = asyncio.create_task(
                self._given_up(
                    Progress(lambda: get("/slots")),
                    self.stall_seconds,
                    "made no progress with its answers",
                )
            )
            try:
                done, _ = await asyncio.wait({hangs, stalls}, return_when=asyncio.FIRST_COMPLETED)
                return next(iter(done)).result()
            finally:
                hangs.cancel()
                stalls.cancel()
                await asyncio.gather(hangs, stalls, return_exceptions=True)

    async def _given_up(
        self, ask: Callable[[], Awaitable[object]], seconds: float, lacking: str
    ) -> str:
        def doubt() -> None:
            self._doubts.add(lacking)
            reason = f"it has {lacking} for {seconds * pulse.SILENT / pulse.UNANSWERED:g} s"
            logger.warning("the model counts as not ready", extra={"reason": reason})
            self.readiness.down(reason)

        def count_on() -> None:
            self._doubts.remove(lacking)
            if not self._doubts:
                logger.warning("the model is ready again")
                self.readiness.up()

        await pulse.lost(ask, seconds, doubt, count_on)
        return f"it has {lacking} for {seconds:g} s"
