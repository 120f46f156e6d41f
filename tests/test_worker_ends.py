"""Workers that end: one that is killed, one that hangs, all that are told to."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path

import aiohttp
import pytest
from processes import children_of, is_alive
from scrape import scrape
from serving_process import Server, serving
from workers import CALLERS, Asking, loaded, over_http, workers_of, write

from diglot.service.command.workers import process
from diglot.service.command.workers.ports import Ports
from diglot.service.command.workers.process import WorkerProcess
from diglot.service.command.workers.slot import Slot
from diglot.service.config import Address


async def ready_workers(server: Server) -> float:
    return (await scrape(f"{server.admin}/metrics"))("diglot_worker_ready")


async def readiness(server: Server) -> tuple[int, str]:
    """With the reason if it is not ready."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{server.admin}/readyz") as answer,
    ):
        said = await answer.json()
        return answer.status, said.get("reason", said["status"])


async def test_one_that_is_killed_takes_nothing_with_it_but_its_own_calls(tmp_path: Path) -> None:
    """And is back: at once, and after a pause if it has to be often."""
    async with serving("--config", str(write(tmp_path))) as server:
        other, victim = workers_of(server)
        async with loaded(server) as load:
            for pause in ("0.0", "0.5"):
                before = len(load.failures)
                os.kill(victim, signal.SIGKILL)
                line = await server.logged("a worker ended")
                assert f"pid={victim} " in line
                assert 'reason="killed by SIGKILL"' in line
                assert f"pause_seconds={pause}" in line
                while len(workers_of(server)) < 2:
                    await load.goes_on()
                assert len(load.failures) - before <= CALLERS, "at most what it had in flight"
                (victim,) = set(workers_of(server)) - {other}
            refused = aiohttp.ClientConnectorError
            assert not [each for each in load.failures if isinstance(each, refused)]
        await asyncio.gather(*(over_http(server, "again") for _ in range(40)))
        assert await server.stop() == 0


async def test_one_that_hangs_is_killed_and_another_takes_its_place(tmp_path: Path) -> None:
    """The others answer meanwhile, and whom it kept waiting learns that. It is named, and not
    counted on, before it is given up."""
    file = write(tmp_path, more="store.enabled = false\nhang_seconds = 6")
    async with serving("--config", str(file), "--admin", "127.0.0.1:0") as server:
        other, victim = workers_of(server)
        assert await ready_workers(server) == 2
        async with loaded(server) as load:
            os.kill(victim, signal.SIGSTOP)
            line = await server.logged("a worker is silent")
            assert f"pid={victim}" in line
            assert await ready_workers(server) == 1
            assert await readiness(server) == (200, "ready")
            line = await server.logged("a worker ended")
            assert f"pid={victim} " in line
            assert 'reason="it gave no sign of life for 6 s"' in line
            assert not is_alive(victim)
            while len(workers_of(server)) < 2:
                await load.goes_on()
            await load.goes_on()
            assert 1 <= len(load.failures) <= CALLERS, "at most what it had in flight"
        assert other in workers_of(server)
        assert await server.stop() == 0


async def test_while_none_gives_a_sign_of_life_the_server_is_not_ready(tmp_path: Path) -> None:
    """And is ready again as soon as one does: nothing was killed."""
    file = write(tmp_path, more="store.enabled = false\nhang_seconds = 12")
    async with serving("--config", str(file), "--admin", "127.0.0.1:0") as server:
        workers = workers_of(server)
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        for _ in workers:
            await server.logged("a worker is silent")
        assert await readiness(server) == (503, "no worker answers")
        for worker in workers:
            os.kill(worker, signal.SIGCONT)
        for _ in workers:
            await server.logged("answers again")
        assert await readiness(server) == (200, "ready")
        assert workers_of(server) == workers
        assert await server.stop() == 0


async def test_one_that_hangs_before_it_listens_is_killed_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With pauses that grow, however long each of them had before."""
    monkeypatch.setattr(process, "LISTENS_WITHIN", 1.2)
    caplog.set_level(logging.ERROR, "diglot.workers")
    ports, born = Ports(Address("127.0.0.1", 0), None), asyncio.Semaphore(0)

    async def start(index: int) -> WorkerProcess:
        worker = await WorkerProcess.started(index, ports.sockets, lambda *_: None, 0.6)
        os.kill(worker.pid, signal.SIGSTOP)
        born.release()
        return worker

    slot = Slot(1)
    keeping = asyncio.create_task(slot.keep(start))
    try:
        for _ in range(4):
            await born.acquire()
    finally:
        keeping.cancel()
        ports.close()
        if slot.worker is not None:
            slot.worker.kill()
            await slot.worker.ended()
    said = [(vars(each)["reason"], vars(each)["pause_seconds"]) for each in caplog.records]
    why = "it did not listen within 1.2 s"
    assert said == [(why, 0.0), (why, 0.5), (why, 1.0)]
    assert children_of(os.getpid()) == []


async def test_told_to_stop_they_finish_what_is_in_flight(tmp_path: Path) -> None:
    async with serving("--config", str(write(tmp_path))) as server:
        asking = Asking()
        answers = [
            asyncio.ensure_future(each)
            for _ in range(8)
            for each in (asking.http(server), asking.grpc(server))
        ]
        await asking.begun(len(answers))
        server.process.send_signal(signal.SIGINT)
        await server.logged("stopping")
        assert await asyncio.gather(*answers) == ["a b c d e f g h"] * len(answers)
        assert await server.ended() == 0
        assert not [line for line in server.err if "Traceback" in line or "ERROR" in line]
        with pytest.raises(aiohttp.ClientConnectorError):
            await over_http(server)


async def test_a_second_signal_ends_all_at_once(tmp_path: Path) -> None:
    async with serving("--config", str(write(tmp_path))) as server:
        asking = Asking()
        endless = asyncio.ensure_future(asking.http(server, interval_ms=600_000))
        await asking.begun(1)
        workers = workers_of(server)
        server.process.send_signal(signal.SIGTERM)
        await server.logged("stopping")
        assert await server.stop(signal.SIGTERM) == -signal.SIGTERM
        while any(map(is_alive, workers)):
            await asyncio.sleep(0.01)
        with pytest.raises(Exception, match=r"peer closed connection|Connection error"):
            await endless
