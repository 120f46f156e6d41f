"""Rows of the chaos table (test_chaos.py) that need a process of the model's.

engine killed during a stream          clients: ENGINE_LOST           accounted: that, with the
                                                                      tokens heard
engine killed, calls queued            clients: 503, come again       accounted: that, no tokens
engine hangs during a stream           as one that is killed, once it has been silent for long
engine decodes nothing, but lives      likewise, once it has come nowhere for long
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from account_log import AccountLog, account_log
from faces import GRPC, HTTP, Faces, Seen, faces
from processes import held, processor_time

from diglot.service.embedded import process
from diglot.service.embedded.engine import EmbeddedEngine

ENGINE_LOST = "ENGINE_LOST"
LONG: dict[str, Any] = {"max_tokens": 400, "vendor": {"ignore_eos": True}}


async def ready_engine(both: Faces) -> EmbeddedEngine:
    [model] = both.service.models.served
    engine = cast(EmbeddedEngine, model.engine)
    await engine.readiness.wait()
    return engine


async def test_the_engine_is_killed_during_a_stream_and_while_calls_are_queued(
    tmp_path: Path, model_path: Path
) -> None:
    """One in the middle of a stream, one in llama.cpp's own queue, one in Diglot's; the model
    comes back, and serves the next."""
    config = f"""
        [[models]]
        kind = "embedded"
        name = "m"
        source = "{model_path}"
        context_tokens = 512
        parallel = 1
        threads = 1
        max_running = 2
        """
    with account_log() as log:
        async with faces(tmp_path, config) as both:
            engine = await ready_engine(both)
            [model] = both.service.models.served

            def ask(name: str, face: str, seen: Seen, *, stream: bool) -> asyncio.Task[Seen]:
                headers = {"x-request-id": name}
                question = both.ask(face, stream=stream, seen=seen, headers=headers, **LONG)
                return asyncio.ensure_future(question)

            heard, waits, queued = Seen(), Seen(), Seen()
            streaming = ask("stream", HTTP, heard, stream=True)
            await heard.until(lambda seen: len(seen.text) > 5)
            waiting = ask("waits", GRPC, waits, stream=False)
            last = ask("queued", HTTP, queued, stream=False)
            assert model.admission is not None
            while not model.admission.queued:
                await asyncio.sleep(0)
            assert engine.child_pid is not None
            os.kill(engine.child_pid, signal.SIGKILL)
            await asyncio.gather(streaming, waiting, last)
            assert (heard.status, heard.error, heard.ended) == (200, ENGINE_LOST, False)
            assert heard.text
            assert (waits.status, waits.error) == ("UNAVAILABLE", ENGINE_LOST)
            assert queued.status == 503
            assert queued.error in (ENGINE_LOST, "SERVER_NOT_READY")
            assert queued.retry_after
            line = await log.line("stream")
            assert line["outcome"] == "engine_lost"
            assert 1 <= line["completion_tokens"] <= len(heard.text)
            assert line["prompt_tokens"] > 1
            for name in ("waits", "queued"):
                line = await log.line(name)
                assert line["outcome"] in ("engine_lost", "not_ready")
                assert "completion_tokens" not in line
            while engine.readiness.ready:
                await asyncio.sleep(0)
            assert "SIGKILL" in (await both.ask(HTTP)).message
            await engine.readiness.wait()
            for face in (HTTP, GRPC):
                assert (await both.ask(face, max_tokens=2)).ended


@dataclass
class Interrupted:
    """A caller in the middle of a stream, and the engine that it hears until something happens."""

    both: Faces
    log: AccountLog
    engine: EmbeddedEngine
    pid: int
    heard: Seen
    stream: asyncio.Task[Seen]

    async def loses_its_callers(self) -> None:
        """Who comes meanwhile waits no longer than the one in the stream."""
        late = await self.both.ask(GRPC, stream=False)
        await self.stream
        assert (self.heard.status, self.heard.error, self.heard.ended) == (200, ENGINE_LOST, False)
        assert (late.status, late.error) == ("UNAVAILABLE", ENGINE_LOST)
        assert (await self.log.line("stream"))["outcome"] == "engine_lost"

    async def is_replaced(self) -> None:
        await self.engine.readiness.wait()
        assert self.engine.child_pid not in (None, self.pid)
        for face in (HTTP, GRPC):
            assert (await self.both.ask(face, max_tokens=2)).ended


@asynccontextmanager
async def interrupted(
    directory: Path, model: Path, *, hang_seconds: float
) -> AsyncIterator[Interrupted]:
    config = f"""
        hang_seconds = {hang_seconds}
        [[models]]
        kind = "embedded"
        name = "m"
        source = "{model}"
        context_tokens = 512
        parallel = 2
        threads = 1
        """
    with account_log() as log:
        async with faces(directory, config) as both:
            engine = await ready_engine(both)
            assert engine.child_pid is not None
            heard, headers = Seen(), {"x-request-id": "stream"}
            stream = asyncio.ensure_future(both.ask(HTTP, seen=heard, headers=headers, **LONG))
            await heard.until(lambda seen: len(seen.text) > 5)
            yield Interrupted(both, log, engine, engine.child_pid, heard, stream)


async def test_the_engine_hangs_during_a_stream(tmp_path: Path, model_path: Path) -> None:
    """It is killed for it."""
    async with interrupted(tmp_path, model_path, hang_seconds=1.2) as hung:
        os.kill(hung.pid, signal.SIGSTOP)
        await hung.loses_its_callers()
        while hung.engine.readiness.ready:
            await asyncio.sleep(0)
        assert "no sign of life" in (await hung.both.ask(HTTP)).message
        await hung.is_replaced()


async def test_the_engine_is_stuck_during_a_stream(
    tmp_path: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers all questions but those of its callers."""
    monkeypatch.setattr(process, "STALLED_AFTER", 3.0)
    async with interrupted(tmp_path, model_path, hang_seconds=3) as stuck:
        before = processor_time(stuck.pid)
        await stuck.heard.until(lambda seen: len(seen.text) > 150)
        now = processor_time(stuck.pid)
        with held(max(now, key=lambda thread: now[thread] - before.get(thread, 0))):
            await stuck.loses_its_callers()
        await stuck.is_replaced()
