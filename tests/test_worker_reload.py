"""Workers that get another configuration, or make room for others, under load."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from serving_process import Server, serving
from workers import SCRIPTED, loaded, over_http, workers_of, write


async def test_a_reload_reaches_all_and_loses_nothing(tmp_path: Path) -> None:
    file = write(tmp_path)
    async with serving("--config", str(file)) as server:
        workers = workers_of(server)
        async with loaded(server) as load:
            write(tmp_path, SCRIPTED + '[[models]]\nkind = "scripted"\nname = "new"\n')
            server.process.send_signal(signal.SIGHUP)
            line = await server.logged("the configuration is reloaded")
            assert "started=1 kept=1 dropped=0" in line
            await asyncio.gather(*(over_http(server, model="new") for _ in range(20)))
            write(tmp_path, SCRIPTED.replace("kind", "knd"))
            server.process.send_signal(signal.SIGHUP)
            assert "models[0].kind" in await server.logged("the old one stays")
            await asyncio.gather(*(over_http(server, model="new") for _ in range(20)))
            await load.goes_on()
        assert load.failures == []
        assert workers_of(server) == workers
        # Who comes later has the configuration that held, not the one in the file.
        os.kill(workers[0], signal.SIGKILL)
        await server.logged("a worker ended")
        while len(workers_of(server)) < 2:
            await over_http(server, model="new")
        assert await server.stop() == 0


async def counted(server: Server) -> float:
    """The answers that the metrics know of."""
    async with aiohttp.ClientSession() as http, http.get(f"{server.admin}/metrics") as answer:
        families = text_string_to_metric_families(await answer.text())
    samples = (sample for family in families for sample in family.samples)
    asked = {"model": "scripted", "outcome": "ok"}
    return next(
        sample.value
        for sample in samples
        if (sample.name, sample.labels) == ("diglot_requests_total", asked)
    )


async def test_workers_are_replaced_one_by_one_and_nothing_is_lost(tmp_path: Path) -> None:
    """By such as have the settings that need a restart otherwise. What was counted counts on."""
    more = 'store.enabled = false\nadmin.address = "127.0.0.1:0"\n'
    file = write(tmp_path, more=more)
    async with serving("--config", str(file)) as server:
        workers = workers_of(server)
        write(tmp_path, more=f'store.url = "sqlite:///{tmp_path}"')  # a directory
        server.process.send_signal(signal.SIGUSR2)
        line = await server.logged("the workers are not replaced")
        assert "worker 1 did not get ready: store.url: cannot open the database" in line
        assert workers_of(server) == workers

        async with loaded(server) as load:
            write(tmp_path, more=more + 'log.format = "json"')
            server.process.send_signal(signal.SIGUSR2)
            await server.logged("all workers are replaced")
            await load.goes_on()
        assert load.failures == []
        assert set(workers_of(server)).isdisjoint(workers)
        assert await counted(server) == load.whole

        os.kill(workers_of(server)[0], signal.SIGKILL)
        await server.logged("a worker ended")
        await over_http(server)
        await server.logged('"message": "completion"')
        assert await counted(server) == load.whole + 1
        async with aiohttp.ClientSession() as http, http.get(f"{server.admin}/readyz") as answer:
            assert answer.status == 200
        assert await server.stop() == 0
