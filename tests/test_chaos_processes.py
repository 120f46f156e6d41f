"""Rows of the chaos table (test_chaos.py) that need Diglot in a process of its own.

SIGTERM during streams, time enough    clients: whole answers         accounted: ok
SIGTERM during streams, no time        clients: 503, come again      accounted: cancelled
SIGKILL during streams                 clients: a broken connection   accounted: nothing; the
                                                                      line dies with the process
disk full                              clients: STORE_UNAVAILABLE,    accounted: that, with the
                                       after the text, in its place   tokens
clock jumps                            clients: nothing               accounted: ok
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from bench.planned_upstream import HANG, Plan, PlannedUpstream, answer, planned_upstream
from faces import GRPC, HTTP, Faces, Seen
from serving_process import Server, serving

QUESTION = "what goes wrong"


@asynccontextmanager
async def diglot(
    directory: Path, top: str = "", **environ: str
) -> AsyncIterator[tuple[Server, Faces, PlannedUpstream]]:
    """In a process of its own, with a model behind it in ours."""
    async with planned_upstream() as upstream:
        file = directory / "diglot.toml"
        file.write_text(
            f'state = "{directory}"\nauth.enabled = false\n{top}\n[[models]]\nname = "m"\n'
            f'kind = "upstream"\nbase_url = "{upstream.base_url}"\n'
        )
        arguments = ("--config", str(file), "--log-format", "json")
        async with serving(*arguments, **environ) as server:
            yield server, Faces(cast(Any, None), server.http, server.grpc), upstream


def accounted(server: Server) -> dict[str, dict[str, Any]]:
    """What its log says of each call, once it has ended."""
    lines = [json.loads(line) for line in server.err if line.startswith("{")]
    return {line["request_id"]: line for line in lines if line["message"] == "completion"}


def asking(both: Faces, face: str, plan: Plan, seen: Seen, **more: Any) -> asyncio.Task[Seen]:
    headers = {"x-request-id": plan.name}
    vendor = {"plan": plan.json()}
    return asyncio.ensure_future(
        both.ask(face, QUESTION, seen=seen, vendor=vendor, headers=headers, **more)
    )


CALLS = [(face, stream) for face in (HTTP, GRPC) for stream in (True, False)]


async def under_way(
    both: Faces, upstream: PlannedUpstream, plan: Plan
) -> dict[str, tuple[Seen, asyncio.Task[Seen]]]:
    """A call of each kind, by its name, of which some tokens have come."""
    calls = {}
    for face, stream in CALLS:
        name = f"{face}-{'streamed' if stream else 'whole'}"
        seen = Seen()
        own = Plan(name, plan.tokens, plan.then, pause=plan.pause)
        calls[name] = seen, asking(both, face, own, seen, stream=stream)
        await upstream.until(name, lambda entry: entry.produced >= 2)
        if stream:
            await seen.until(lambda seen: seen.text.count(" ") >= 2)
    return calls


async def test_sigterm_with_time_enough(tmp_path: Path) -> None:
    async with diglot(tmp_path) as (server, both, upstream):
        calls = await under_way(both, upstream, Plan(tokens=30, pause=0.01))
        server.process.send_signal(signal.SIGTERM)
        for seen, task in calls.values():
            await task
            assert (seen.text, seen.ended, seen.error) == (answer(QUESTION, 30), True, None)
        assert await server.ended() == 0
        lines = accounted(server)
        assert {name: lines[name]["outcome"] for name in calls} == dict.fromkeys(calls, "ok")
        assert all(lines[name]["completion_tokens"] == 30 for name in calls)


async def test_sigterm_without_time(tmp_path: Path) -> None:
    async with diglot(tmp_path, "grace_seconds = 0.2") as (server, both, upstream):
        calls = await under_way(both, upstream, Plan(tokens=3, then=HANG))
        server.process.send_signal(signal.SIGTERM)
        for name, (seen, task) in calls.items():
            await task
            assert not seen.ended
            assert seen.text == (answer(QUESTION, 3) if "streamed" in name else "")
            if name.startswith(HTTP):
                assert (seen.status, seen.error) == (
                    200 if "streamed" in name else 503,
                    "SERVER_NOT_READY",
                )
            else:
                assert seen.status == "UNAVAILABLE"
            await upstream.until(name, lambda entry: entry.gone)
        assert await server.ended() == 0
        lines = accounted(server)
        assert {name: lines[name]["outcome"] for name in calls} == dict.fromkeys(calls, "cancelled")
        assert all(lines[name]["completion_tokens"] == 3 for name in calls)


async def test_sigkill(tmp_path: Path) -> None:
    """Streams are seen to break off, and the kernel tells the upstream."""
    async with diglot(tmp_path) as (server, both, upstream):
        calls = await under_way(both, upstream, Plan(tokens=3, then=HANG))
        assert await server.stop(signal.SIGKILL) == -signal.SIGKILL
        for name, (seen, task) in calls.items():
            with suppress(aiohttp.ClientError):
                await task
                assert name.startswith(GRPC), "over HTTP nothing but the break tells"
                assert seen.status == "UNAVAILABLE"
            assert not seen.ended
            assert seen.text == (answer(QUESTION, 3) if "streamed" in name else "")
            await upstream.until(name, lambda entry: entry.gone)
        assert not accounted(server)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = subprocess.run(
        ("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)), capture_output=True
    )
    if mount.returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(("umount", "--lazy", str(place)), check=True)


async def test_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    """Where the store is. Answers that are not stored go on, and with room again all do."""
    filling = small_disk / "filling"
    url = f"sqlite:///{small_disk}/completions.db"
    async with diglot(tmp_path, f'store.url = "{url}"') as (server, both, _):

        async def outcomes(when: str, *, store: bool) -> set[tuple[str | None, bool]]:
            found = set()
            for face, stream in CALLS:
                name = f"{when}-{store}-{face}-{stream}"
                plan = Plan(name=name, tokens=4)
                seen = await asking(both, face, plan, Seen(), stream=stream, store=store)
                assert seen.text == (answer(QUESTION, 4) if stream or seen.ended else "")
                found.add((seen.error, seen.ended))
            return found

        assert await outcomes("before", store=True) == {(None, True)}
        with suppress(OSError), filling.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        assert await outcomes("full", store=True) == {("STORE_UNAVAILABLE", False)}
        assert await outcomes("full", store=False) == {(None, True)}
        filling.unlink()
        assert await outcomes("after", store=True) == {(None, True)}
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{both.http}/chat/completions") as listed,
        ):
            assert len((await listed.json())["data"]) == 2 * len(CALLS), "before, and after"
        assert await server.stop() == 0
        for name, line in accounted(server).items():
            full = name.startswith("full-True")
            assert line["outcome"] == ("store_unavailable" if full else "ok")
            assert line["completion_tokens"] == 4


def faked_clock(file: Path) -> dict[str, str]:
    """What makes a process see the time of day as `file` says: "+3600" is an hour too late.

    By libfaketime; only that clock, and not the monotonic one.
    """
    spec = find_spec("libfaketime")
    assert spec is not None
    assert spec.origin is not None
    library = Path(spec.origin).parent / "vendor/libfaketime/src/libfaketime.so.1"
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


async def test_the_clock_jumps(tmp_path: Path) -> None:
    """An hour ahead, and two back. `created` jumps with it, and nothing else: no deadline, no
    timeout, no comment."""
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    async with diglot(tmp_path, **faked_clock(clock)) as (server, both, upstream):
        before = await created(both)
        calls = {}
        for face, stream in CALLS:
            plan = Plan(f"{face}-{stream}", tokens=60, pause=0.01)
            seen = Seen()
            calls[plan.name] = seen, asking(both, face, plan, seen, stream=stream, timeout=60)
            await upstream.until(plan.name, lambda entry: entry.produced)
        for jump in (3600, -3600):
            clock.write_text(f"{jump:+}\n")
            assert abs(await created(both) - before - jump) < 60
        for seen, task in calls.values():
            await task
            assert (seen.text, seen.ended) == (answer(QUESTION, 60), True)
        late = [
            asking(
                both, face, Plan(f"late-{face}-{stream}", 1, HANG), Seen(), stream=stream, timeout=1
            )
            for face, stream in CALLS
        ]
        for (face, _), asked in zip(CALLS, late, strict=True):
            seen = await asked
            assert seen.error == ("TIMEOUT" if face == HTTP else "DEADLINE_EXCEEDED")
        assert await server.stop() == 0
        lines = accounted(server)
        for name, line in lines.items():
            assert line["outcome"] == ("deadline_exceeded" if "late" in name else "ok")
            assert 0 <= line["ms"] < 60_000
        assert len(lines) == 3 + 2 * len(CALLS)


async def created(both: Faces) -> int:
    body = {"model": "m", "messages": [{"role": "user", "content": "what time is it"}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{both.http}/chat/completions", json=body) as response,
    ):
        return int((await response.json())["created"])
