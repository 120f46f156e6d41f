"""The model's process: real ones, killed for real."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from processes import children_of, held, is_alive, processor_time

from diglot.service.embedded.child_settings import ChildSettings
from diglot.service.embedded.supervisor import LlamaChild


def settings(model: Path) -> ChildSettings:
    return ChildSettings(model=model, context_tokens=512, parallel=1, threads=1)


@asynccontextmanager
async def child(model: Path, **more: Any) -> AsyncIterator[LlamaChild]:
    child = LlamaChild(replace(settings(model), **more))
    await child.start()
    try:
        yield child
    finally:
        await child.close()


@asynccontextmanager
async def ready(model: Path, **more: Any) -> AsyncIterator[tuple[LlamaChild, int]]:
    """With its first process."""
    async with child(model, **more) as running:
        await running.readiness.wait()
        assert running.pid is not None
        yield running, running.pid


@asynccontextmanager
async def generating(running: LlamaChild, tokens: int = 400) -> AsyncIterator[AsyncIterator[bytes]]:
    """The events of an answer that is long, and slow enough to be looked at."""
    asked = {
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "stream": True,
    }
    headers = {"Authorization": f"Bearer {running.api_key}"}
    url = f"{running.base_url}/chat/completions"
    async with (
        aiohttp.ClientSession() as http,
        http.post(url, json=asked, headers=headers) as answer,
    ):
        yield (line async for line in answer.content if line.startswith(b"data: {"))


async def to_the_end(events: AsyncIterator[bytes]) -> None:
    async for _ in events:
        pass


async def busiest_thread(pid: int, events: AsyncIterator[bytes]) -> int:
    """The one that decodes."""
    await anext(events)
    before = processor_time(pid)
    for _ in range(40):
        await anext(events)
    now = processor_time(pid)
    return max(now, key=lambda thread: now[thread] - before.get(thread, 0))


def change_of(child: LlamaChild) -> asyncio.Event:
    changed = asyncio.Event()
    child.readiness.subscribe(changed.set)
    return changed


async def test_one_that_cannot_be_started_does_not_keep_who_closes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was about to be: the system has no process for it."""
    starting, failing = asyncio.Event(), asyncio.Event()

    async def start(*arguments: object, **options: object) -> None:
        starting.set()
        await failing.wait()
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    child = LlamaChild(settings(Path("none")))
    await child.start()
    await starting.wait()
    closing = asyncio.ensure_future(child.close())
    asyncio.get_running_loop().call_soon(failing.set)
    async with asyncio.timeout(5):
        await closing
    assert child.readiness.reason == "closed"


async def test_killed_it_is_down_at_once_and_back_again(model_path: Path) -> None:
    """And callers who come meanwhile are told why."""
    async with ready(model_path) as (running, first):
        key = running.api_key
        changed = change_of(running)
        os.kill(first, signal.SIGKILL)
        await changed.wait()
        assert not running.readiness.ready
        assert "SIGKILL" in running.readiness.reason
        await running.readiness.wait()
        assert running.pid not in (None, first)
        assert running.api_key != key
        last = running.pid
    assert last is not None
    assert not is_alive(last)


async def test_one_that_hangs_is_killed_and_started_again(
    model_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "diglot.embedded")
    async with ready(model_path, hang_seconds=1.2) as (running, first):
        changed = change_of(running)
        os.kill(first, signal.SIGSTOP)
        await changed.wait()
        assert running.readiness.reason == "it has given no sign of life for 0.6 s"
        await running.readiness.wait()
        assert running.pid not in (None, first)
        assert not is_alive(first)
    (record,) = caplog.records
    assert vars(record)["reason"] == "it has given no sign of life for 1.2 s"
    assert vars(record)["pause_seconds"] == 0


async def test_one_whose_decoder_is_stuck_is_killed_and_started_again(
    model_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Though the rest of it answers all questions."""
    caplog.set_level(logging.ERROR, "diglot.embedded")
    async with ready(model_path, stall_seconds=3.0) as (running, first):
        async with generating(running) as events:
            decoder = await busiest_thread(first, events)
            changed = change_of(running)
            with held(decoder):
                async with (
                    aiohttp.ClientSession() as http,
                    http.get(f"{running.base_url.removesuffix('/v1')}/health") as health,
                ):
                    assert health.status == 200
                await changed.wait()
                assert running.readiness.reason == (
                    "it has made no progress with its answers for 1.5 s"
                )
                with pytest.raises(aiohttp.ClientError):
                    await to_the_end(events)
            await running.readiness.wait()
        assert running.pid not in (None, first)
        assert not is_alive(first)
    (record,) = caplog.records
    assert vars(record)["reason"] == "it has made no progress with its answers for 3 s"


async def test_one_that_is_stuck_before_anybody_asks_it_is_found_out(model_path: Path) -> None:
    async with ready(model_path, stall_seconds=3.0) as (running, first):
        async with generating(running, tokens=60) as events:
            decoder = await busiest_thread(first, events)
            await to_the_end(events)
        changed = change_of(running)
        with held(decoder):
            await changed.wait()
            while is_alive(first):
                await asyncio.sleep(0.01)
        await running.readiness.wait()
        assert running.pid not in (None, first)


async def test_one_that_goes_on_is_counted_on_again(model_path: Path) -> None:
    async with ready(model_path, stall_seconds=12.0) as (running, first):
        async with generating(running) as events:
            decoder = await busiest_thread(first, events)
            changed = change_of(running)
            with held(decoder):
                await changed.wait()
                assert not running.readiness.ready
            await running.readiness.wait()
            assert await anext(events)
        assert running.pid == first


async def test_a_long_prompt_is_no_hang(model_path: Path) -> None:
    """It is read for longer than one that hangs is given."""
    limit = 0.9
    async with child(
        model_path, hang_seconds=limit, stall_seconds=4.0, context_tokens=1024
    ) as running:
        await running.readiness.wait()
        first, words = running.pid, "one two three four five six seven eight " * 60
        asked = {"messages": [{"role": "user", "content": words}], "max_tokens": 1}
        began = asyncio.get_running_loop().time()
        async with (
            aiohttp.ClientSession(
                headers={"Authorization": f"Bearer {running.api_key}"}
            ) as session,
            session.post(f"{running.base_url}/chat/completions", json=asked) as answer,
        ):
            assert (await answer.json())["usage"]["prompt_tokens"] > 400
        assert asyncio.get_running_loop().time() - began > limit
        assert (running.pid, running.readiness.ready) == (first, True)


async def test_a_model_that_cannot_be_loaded_is_tried_with_growing_pauses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "diglot.embedded")
    garbage = tmp_path / "garbage.gguf"
    garbage.write_bytes(b"GGUF" + b"\0" * 1000)
    async with child(garbage) as running:
        while len(caplog.records) < 3:
            await asyncio.sleep(0.05)
        assert "bad GGUF version" in running.readiness.reason
    pauses = [vars(record)["pause_seconds"] for record in caplog.records]
    assert pauses[:3] == [0.0, 0.5, 1.0]
    assert "bad GGUF version" in vars(caplog.records[0])["reason"]


async def test_a_file_that_is_gone_is_a_reason_to_try_again(
    model_path: Path, tmp_path: Path
) -> None:
    link = tmp_path / "model.gguf"
    link.symlink_to(model_path)
    async with child(link) as running:
        await running.readiness.wait()
        link.unlink()
        assert running.pid is not None
        os.kill(running.pid, signal.SIGKILL)
        while "No such file" not in running.readiness.reason:
            await asyncio.sleep(0.01)
        link.symlink_to(model_path)
        await running.readiness.wait()


async def test_closed_it_is_not_ready(model_path: Path) -> None:
    async with child(model_path) as running:
        await running.readiness.wait()
    assert running.readiness.reason == "closed"


async def test_a_cancelled_close_leaves_nothing_behind_and_stays_cancelled(
    model_path: Path,
) -> None:
    running = LlamaChild(settings(model_path))
    await running.start()
    await running.readiness.wait()
    assert running.pid is not None
    os.kill(running.pid, signal.SIGSTOP)  # so that SIGTERM does not end it
    closing = asyncio.create_task(running.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert children_of(os.getpid()) == []


@pytest.mark.parametrize("steps", [0, 1, 50])
async def test_closed_while_it_starts_it_leaves_nothing_behind(
    model_path: Path, steps: int
) -> None:
    running = LlamaChild(settings(model_path))
    await running.start()
    for _ in range(steps):
        await asyncio.sleep(0.001)
    pid = running.pid
    await running.close()
    assert pid is None or not is_alive(pid)
    assert children_of(os.getpid()) == []


async def test_a_start_that_hangs_is_given_up(model_path: Path) -> None:
    running = LlamaChild(
        ChildSettings(model_path, context_tokens=512, parallel=1, threads=1, start_timeout=0.01)
    )
    await running.start()
    try:
        while "not ready within 0.01 s" not in running.readiness.reason:
            await asyncio.sleep(0.01)
    finally:
        await running.close()


PARENT = """
import asyncio, sys
from pathlib import Path
from diglot.service.embedded.child_settings import ChildSettings
from diglot.service.embedded.supervisor import LlamaChild

async def main():
    child = LlamaChild(ChildSettings(Path(sys.argv[1]), 512, 1, 1))
    await child.start()
    await child.readiness.wait()
    print(child.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_it_goes_with_a_parent_that_is_killed(model_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(model_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(await asyncio.to_thread(parent.stdout.readline))
    assert is_alive(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    while is_alive(pid):
        await asyncio.sleep(0.01)
