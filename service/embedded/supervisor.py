"""Keeps a child process with a model alive, and tells when it can answer.

    not started ──▶ starting ──▶ ready ──▶ ended ──▶ (a pause) ──▶ starting …

A child is ready after a real first token, and not before. When it ends it is started again:
the first time at once, then after pauses that double, so that a model which cannot run does
not keep a machine busy with trying. One that hangs (liveness.py) is killed, which ends it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import signal
import sys
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import asdict
from typing import NoReturn

import aiohttp

from ..readiness import Readiness
from .child_log import ChildLog
from .child_settings import ChildSettings
from .liveness import Liveness

logger = logging.getLogger("diglot.embedded")

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
STABLE_AFTER = 60.0
"""Seconds for which a child must have been ready for its end to count as the first again."""

_STOP_TIMEOUT = 3.0


class _ChildEndedError(Exception):
    """The child ended, or has to; the text says why."""

    def __init__(self, reason: str, ready_for: float = 0.0) -> None:
        super().__init__(reason)
        self.ready_for = ready_for


class LlamaChild:
    """One child at a time, from `start` to `close`."""

    def __init__(self, settings: ChildSettings) -> None:
        self.readiness = Readiness()
        self.base_url = ""
        """The child's API, while it is ready. Changes with each start, as the key does."""
        self.api_key = ""
        self.pid: int | None = None
        self._settings = settings
        self._log = ChildLog()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins, and does not wait; `readiness.wait()` does."""
        self._task = asyncio.create_task(self._keep_alive())

    async def close(self) -> None:
        """Ends the child, however far it has come. None is left when this returns."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                task.cancel()  # whoever is in that much of a hurry gets a SIGKILL at once
                await asyncio.wait({task})
                raise
            finally:
                self.readiness.down("closed")

    async def _keep_alive(self) -> None:
        failures = 0
        self.readiness.down("it is being loaded")
        while True:
            try:
                await self._live()
            except _ChildEndedError as ended:
                reason = str(ended)
                if ended.ready_for >= STABLE_AFTER:
                    failures = 0
            except Exception as error:  # whatever it was, the model is to come back
                reason = type(error).__name__
                if isinstance(error, OSError):
                    reason = error.strerror or reason  # without the path: callers are told
                else:
                    logger.exception("a fault in keeping the model's process")
            pause = 0.0 if failures == 0 else min(FIRST_PAUSE * 2 ** (failures - 1), LONGEST_PAUSE)
            failures += 1
            self.readiness.down(f"its process ended ({reason}) and is being started again")
            logger.error(
                "the model's process ended; starting it again",
                extra={
                    "reason": reason,
                    "pause_seconds": pause,
                    "last_lines": self._log.last_lines,
                },
            )
            await asyncio.sleep(pause)

    async def _live(self) -> NoReturn:
        """One child's life. Always ends with an exception, and with the child gone."""
        self._log = ChildLog()
        loop = asyncio.get_running_loop()
        began = loop.time()
        process = await self._spawn()
        self.pid = process.pid
        self._reading = asyncio.create_task(self._log.read(process.stderr))
        ended = asyncio.create_task(process.wait())
        try:
            self.api_key = secrets.token_urlsafe(32)
            try:
                async with asyncio.timeout(self._settings.start_timeout):
                    await _unless(ended, self._begin(process))
            except TimeoutError:
                raise _ChildEndedError(
                    f"it was not ready within {self._settings.start_timeout:g} s"
                ) from None
            ready_at = loop.time()
            self.readiness.up()
            logger.info("the model is ready", extra={"seconds": round(ready_at - began, 2)})
            reason = await self._until_ended(process, ended)
            self.readiness.down(f"its process ended ({reason})")
            raise _ChildEndedError(reason, loop.time() - ready_at)
        except _DiedError:
            raise _ChildEndedError(_described(process.returncode)) from None
        finally:
            self.pid = None
            await _end(process, ended)
            await asyncio.wait({self._reading}, timeout=1)
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _spawn(self) -> asyncio.subprocess.Process:
        spawning = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # a file in the working directory must not pass for a module
                "-m",
                "diglot.service.embedded.child",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        )
        try:
            return await asyncio.shield(spawning)
        except asyncio.CancelledError:
            with suppress(OSError):  # it may as well have failed
                process = await spawning
                process.kill()
                await process.wait()
            raise

    async def _begin(self, process: asyncio.subprocess.Process) -> None:
        """From birth to the first token."""
        assert process.stdin is not None
        assert process.stdout is not None
        order = asdict(self._settings) | {
            "batch_tokens": self._settings.batch_tokens,
            "api_key": self.api_key,
        }
        process.stdin.write(json.dumps(order, default=str).encode() + b"\n")
        await process.stdin.drain()
        size = self._settings.model.stat().st_size
        logger.info("loading the model", extra={"megabytes": size // 10**6})
        waiting = asyncio.create_task(_tell_time())
        try:
            event = _event(await process.stdout.readline())
            if event.get("event") == "failed":
                await asyncio.wait({self._reading}, timeout=1)
                raise _ChildEndedError(self._log.complaint or event["message"])
            if event.get("event") != "listening":
                await process.wait()
                raise _DiedError
            self.base_url = event["url"] + "/v1"
            await self._first_token()
        finally:
            waiting.cancel()

    async def _first_token(self) -> None:
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.post(
                    f"{self.base_url}/chat/completions",
                    json=body,
                    headers={"Authorization": f"Bearer {self.api_key}"},
                    timeout=aiohttp.ClientTimeout(total=None),
                ) as response,
            ):
                text = await response.text()
                if response.status != 200:
                    raise _ChildEndedError(f"it cannot answer: {text[:200]}")
        except aiohttp.ClientError:
            raise _DiedError from None

    async def _until_ended(
        self, process: asyncio.subprocess.Process, ended: asyncio.Task[int]
    ) -> str:
        """Kills it if it hangs. Returns how it went."""
        liveness = Liveness(
            self.base_url.removesuffix("/v1"),
            self.api_key,
            self._settings.hang_seconds,
            self._settings.stall_seconds,
            self.readiness,
        )
        lost = asyncio.create_task(liveness.lost())
        try:
            # The end is not awaited itself: a cancellation must not reach it.
            await asyncio.wait({lost, ended}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return _described(process.returncode)
            # Its clients wait for it: a SIGTERM would only have them wait for longer.
            process.kill()
            return lost.result()
        finally:
            lost.cancel()
            await asyncio.gather(lost, return_exceptions=True)


def _event(line: bytes) -> dict[str, str]:
    """What the child said; nothing if it died before or while it said it."""
    try:
        event: dict[str, str] = json.loads(line)
    except ValueError:
        return {}
    return event


class _DiedError(Exception):
    """The child is gone; its exit status says more."""


async def _unless(ended: asyncio.Task[int], work: Awaitable[None]) -> None:
    """Does the work, unless the child ends first."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise _DiedError
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _end(process: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
    """Asks, then makes."""
    try:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait({ended}, timeout=_STOP_TIMEOUT)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        await asyncio.wait({ended})
        if process.stdin is not None:
            process.stdin.close()


async def _tell_time() -> None:
    """Large models take minutes: says that something happens."""
    seconds = 0
    while True:
        await asyncio.sleep(5)
        seconds += 5
        logger.info("still loading the model", extra={"seconds": seconds})


def _described(status: int | None) -> str:
    if status is not None and status < 0:
        with suppress(ValueError):
            return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"
