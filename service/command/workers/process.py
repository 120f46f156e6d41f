"""One worker, as the parent sees it: from its start to its end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any, Self

from ... import pulse
from .link import Link, Message

LISTENS_WITHIN = 180.0
"""Seconds that a worker has from its birth until it listens, or more where `hang_seconds` is more:
it loads no model, but what it has to import takes long where many start on few cores."""

logger = logging.getLogger("diglot.workers")

Heard = Callable[["WorkerProcess", Message], None]


class WorkerEndedError(Exception):
    """It ended before it answered."""


class WorkerProcess:
    """Made by `started`. What it says of itself goes to `heard`."""

    def __init__(
        self,
        index: int,
        process: asyncio.subprocess.Process,
        link: Link,
        heard: Heard,
        hang_seconds: float,
    ) -> None:
        self.index = index
        """From 1; whoever takes its place has the same."""
        self.pid = process.pid
        self.ready = asyncio.Event()
        self.listens_since: float | None = None
        """By the loop's clock."""
        self.silent = False
        """Whether it has left questions unanswered, and may hang."""
        self.said: str | None = None
        """Why it could not go on, in its own words."""
        self._process = process
        self._link = link
        self._heard = heard
        self._numbers = count()
        self._asked: dict[int, asyncio.Future[Message]] = {}
        self._hang_seconds = hang_seconds
        self._watching = asyncio.create_task(self._watch_start())
        self._end = asyncio.create_task(self._life())

    @classmethod
    async def started(
        cls,
        index: int,
        sockets: Sequence[socket.socket],
        heard: Heard,
        hang_seconds: float,
    ) -> Self:
        """It waits for its orders. Raises OSError."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",  # a file in the working directory must not pass for a module
                    "-m",
                    "diglot.service.command.workers.worker",
                    stdin=theirs.fileno(),
                    pass_fds=[each.fileno() for each in sockets],
                    # Ctrl-C is for the parent, which decides what it means.
                    start_new_session=True,
                )
            link = await Link.over(ours)
        except BaseException:
            ours.close()  # a worker without a parent ends
            raise
        return cls(index, process, link, heard, hang_seconds)

    def tell(self, do: str, **message: Any) -> None:
        self._link.send(do=do, **message)

    async def ask(self, do: str, **message: Any) -> Message:
        """Its answer. Raises WorkerEndedError."""
        number = next(self._numbers)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        if self._end.done():
            raise WorkerEndedError
        self._link.send(do=do, id=number, **message)
        try:
            return await answer
        finally:
            self._asked.pop(number, None)

    def drain(self) -> None:
        """Tells it to finish what it has, take nothing else, and end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    async def ended(self) -> str:
        """Returns when it is gone, and says how it went."""
        await asyncio.wait({self._end})
        if self.said is not None:
            return self.said
        status = self._process.returncode
        if status is not None and status < 0:
            with suppress(ValueError):
                return f"killed by {signal.Signals(-status).name}"
        return f"exit status {status}"

    async def _life(self) -> None:
        try:
            while (message := await self._link.receive()) is not None:
                match message["event"]:
                    case "listening":
                        self.listens_since = asyncio.get_running_loop().time()
                        self._watching.cancel()
                        self._watching = asyncio.create_task(self._watch())
                    case "ready":
                        self.ready.set()
                    case "failed":
                        self.said = message["reason"]
                if message["event"] != "answer":
                    self._heard(self, message)
                elif (answer := self._asked.get(message["id"])) and not answer.done():
                    answer.set_result(message)
        finally:
            await self._link.close()
            await self._process.wait()
            self._watching.cancel()
            for waiting in self._asked.values():
                if not waiting.done():
                    waiting.set_exception(WorkerEndedError())

    async def _watch_start(self) -> None:
        limit = max(LISTENS_WITHIN, self._hang_seconds)
        await pulse.lost(self.ready.wait, limit)
        self._give_up(f"it did not listen within {limit:g} s")

    async def _watch(self) -> None:
        """Also on its way out."""
        limit = self._hang_seconds
        await pulse.lost(lambda: self.ask("pulse"), limit, self._doubt, self._count_on)
        self._give_up(f"it gave no sign of life for {limit:g} s")

    def _give_up(self, why: str) -> None:
        """Nothing less than SIGKILL ends what hangs: it hears no SIGTERM."""
        self.said = self.said or why
        self.kill()

    def _doubt(self) -> None:
        self.silent = True
        who = {"worker": self.index, "pid": self.pid}
        logger.warning("a worker is silent; it counts as not ready", extra=who)

    def _count_on(self) -> None:
        self.silent = False
        who = {"worker": self.index, "pid": self.pid}
        logger.warning("a worker that was silent answers again", extra=who)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
