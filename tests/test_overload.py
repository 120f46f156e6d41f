"""More requests than a model takes on, over both faces: who is answered, and what others hear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from faces import GRPC, HTTP, Faces, Seen, faces
from held_upstream import ANSWER, QUICK, SILENT, TALKING, HeldUpstream, held_upstream

from diglot.service.admission import Admission
from diglot.service.keys import KeyRing
from diglot.service.state import KEYS_FILE

REFUSED = {HTTP: (503, "SERVER_OVERLOADED"), GRPC: ("UNAVAILABLE", "QUEUE_FULL")}
FACES = pytest.mark.parametrize("face", [HTTP, GRPC])


@dataclass
class Model:
    """One model, and the upstream behind it."""

    both: Faces
    upstream: HeldUpstream
    admission: Admission

    async def queued(self, count: int) -> None:
        """Returns once so many wait."""
        while self.admission.queued != count:
            await asyncio.sleep(0)

    def idle(self) -> bool:
        return (self.admission.running, self.admission.queued) == (0, 0)


@asynccontextmanager
async def model(directory: Path, limits: str, *, with_keys: bool = False) -> AsyncIterator[Model]:
    async with held_upstream() as upstream:
        config = f'[[models]]\nname = "m"\nkind = "upstream"\nbase_url = "{upstream.base_url("m")}"'
        async with faces(directory, f"{config}\n{limits}", with_keys=with_keys) as both:
            served = both.service.models.find("m")
            assert served is not None
            assert served.admission is not None
            yield Model(both, upstream, served.admission)


async def done(tasks: Sequence[asyncio.Future[Seen]], count: int) -> list[Seen]:
    """What those of them saw that are done first."""
    while len(seen := [task.result() for task in tasks if task.done()]) < count:
        pending = {task for task in tasks if not task.done()}
        await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    return seen


@FACES
@pytest.mark.parametrize("stream", [False, True])
async def test_ten_times_as_many_requests_as_places(
    face: str, stream: bool, tmp_path: Path
) -> None:
    """So many run as may, so many wait as may, and the others hear at once that they cannot."""
    async with model(tmp_path, "max_running = 4\nmax_queued = 2") as served:
        asking = [
            asyncio.ensure_future(served.both.ask(face, SILENT, stream=stream)) for _ in range(40)
        ]
        for seen in await done(asking, 34):
            assert (seen.status, seen.error) == REFUSED[face]
            assert seen.retry_after == 1
        await served.upstream.asked(SILENT, times=4)
        assert (served.admission.running, served.admission.queued) == (4, 2)
        assert len(served.upstream.arrived) == 4
        served.upstream.release()
        answered = [seen for seen in await asyncio.gather(*asking) if seen.error is None]
        assert [(seen.text, seen.ended) for seen in answered] == [(ANSWER, True)] * 6
        assert len(served.upstream.arrived) == 6
        assert served.idle()


@FACES
async def test_the_longest_wait_ends_in_a_refusal(face: str, tmp_path: Path) -> None:
    limits = "max_running = 1\nmax_queue_seconds = 0.1"
    async with model(tmp_path, limits) as served:
        running = asyncio.ensure_future(served.both.ask(face, TALKING))
        await served.upstream.asked(TALKING, times=1)
        seen = await served.both.ask(face, QUICK)
        assert (seen.status, seen.error) == REFUSED[face]
        assert not served.upstream.askers(QUICK)
        served.upstream.release()
        assert (await running).ended


@FACES
async def test_who_leaves_while_it_waits_leaves_its_place(face: str, tmp_path: Path) -> None:
    async with model(tmp_path, "max_running = 1\nmax_queued = 1") as served:
        running = asyncio.ensure_future(served.both.ask(face, TALKING))
        await served.upstream.asked(TALKING, times=1)
        waiting = asyncio.ensure_future(served.both.ask(face, SILENT))
        await served.queued(1)
        waiting.cancel()
        await served.queued(0)
        next_one = asyncio.ensure_future(served.both.ask(face, QUICK))
        await served.queued(1)
        served.upstream.release()
        assert [(await each).ended for each in (running, next_one)] == [True, True]
        assert not served.upstream.askers(SILENT)
        assert served.idle()


@FACES
async def test_one_key_with_many_requests_does_not_delay_anothers_one(
    face: str, tmp_path: Path
) -> None:
    keys = KeyRing(tmp_path / KEYS_FILE)
    many, few = ({"authorization": f"Bearer {keys.add(name)}"} for name in ("many", "few"))
    async with model(tmp_path, "max_running = 1\nmax_queued = 30", with_keys=True) as served:
        running = asyncio.ensure_future(served.both.ask(face, TALKING, headers=many))
        await served.upstream.asked(TALKING, times=1)
        asking = [
            asyncio.ensure_future(served.both.ask(face, SILENT, headers=many)) for _ in range(40)
        ]
        assert {seen.error for seen in await done(asking, 10)} == {REFUSED[face][1]}
        # The queue is full, of one caller's: it makes room.
        one = asyncio.ensure_future(served.both.ask(face, QUICK, headers=few))
        assert (await done(asking, 11))[-1].error == REFUSED[face][1]
        served.upstream.release()
        assert (await one).ended
        assert (await running).ended
        answers = [seen for seen in await asyncio.gather(*asking) if seen.ended]
        assert len(answers) == 29
        # After that which was before it, and not after all that were.
        questions = [question for _, question in served.upstream.arrived]
        assert questions.index(QUICK) <= 2
