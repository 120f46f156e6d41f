"""When a call's time is over, on both faces: what its caller sees, and what goes on without it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from faces import GRPC, HTTP, Faces, faces
from held_upstream import ANSWER, QUICK, SILENT, TALKING, HeldUpstream, held_upstream

# Of the error as each face spells it, where the server says so.
OVER = {HTTP: (504, "TIMEOUT"), GRPC: ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")}
FACES = pytest.mark.parametrize("face", [HTTP, GRPC])


@asynccontextmanager
async def serving(directory: Path, more: str) -> AsyncIterator[tuple[Faces, HeldUpstream]]:
    async with held_upstream() as upstream:
        model = f'[[models]]\nname = "m"\nkind = "upstream"\nbase_url = "{upstream.base_url("m")}"'
        async with faces(directory, f"{model}\n{more}") as both:
            yield both, upstream


async def free(upstream: HeldUpstream) -> None:
    """Returns once it works for nobody. On a busy machine a call may end before it comes there."""
    await upstream.left(len(upstream.arrived))


@FACES
async def test_a_callers_deadline_ends_its_call(face: str, tmp_path: Path) -> None:
    async with serving(tmp_path, "") as (both, upstream):
        seen = await both.ask(face, SILENT, stream=False, timeout=0.2)
        assert (seen.status, seen.error) == OVER[face]
        await free(upstream)


@FACES
async def test_what_was_delivered_before_it_stays_delivered(face: str, tmp_path: Path) -> None:
    async with serving(tmp_path, "") as (both, upstream):
        seen = await both.ask(face, TALKING, timeout=1)
        assert (seen.text, seen.ended) == ("one", False)
        # The stream's status is out; its end is an error.
        assert seen.status in (200, "DEADLINE_EXCEEDED")
        assert seen.error == OVER[face][1]
        await free(upstream)


@FACES
@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_has_a_deadline_of_its_own(face: str, stream: bool, tmp_path: Path) -> None:
    async with serving(tmp_path, "timeout_seconds = 0.2") as (both, upstream):
        seen = await both.ask(face, SILENT, stream=stream)
        assert (seen.status, seen.error) == OVER[face]
        await free(upstream)
        assert (await both.ask(face, QUICK)).text == ANSWER


@FACES
async def test_the_sooner_of_both_holds(face: str, tmp_path: Path) -> None:
    async with serving(tmp_path, "timeout_seconds = 0.1") as (both, upstream):
        seen = await both.ask(face, SILENT, timeout=60)
        assert (seen.status, seen.error) == OVER[face]
    async with serving(tmp_path, "timeout_seconds = 60") as (both, upstream):
        seen = await both.ask(face, SILENT, timeout=0.1)
        assert (seen.status, seen.error) == OVER[face]
        await free(upstream)


@FACES
async def test_waiting_for_a_place_counts(face: str, tmp_path: Path) -> None:
    """Who gave up has left the queue; the upstream never heard of it."""
    async with serving(tmp_path, "max_running = 1\ntimeout_seconds = 60") as (both, upstream):
        running = asyncio.ensure_future(both.ask(face, TALKING))
        await upstream.asked(TALKING, times=1)
        seen = await both.ask(face, SILENT, timeout=0.1)
        assert (seen.status, seen.error) == OVER[face]
        upstream.release()
        assert (await running).text == ANSWER
        assert (await both.ask(face, QUICK)).ended
        assert not upstream.askers(SILENT)


async def test_the_log_has_what_was_spent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As far as it is known: the scripted model counts as it speaks."""
    caplog.set_level("INFO", "diglot.chat")
    async with faces(tmp_path, '[[models]]\nkind = "scripted"\nname = "m"') as both:
        script = {"scripted": {"content": "a b", "tokens": 9999, "interval_ms": 10}}
        seen = await both.ask(HTTP, vendor=script, timeout=1)
    assert not seen.ended
    (line,) = [vars(record) for record in caplog.records if record.name == "diglot.chat"]
    assert line["outcome"] == "deadline_exceeded"
    assert line["completion_tokens"] == len(seen.text.split()) > 0
