"""What a worker has counted outlives it, however it ends."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import aiohttp
from prometheus_client import generate_latest
from scrape import Scrape

from diglot.service.command.workers.census import Census
from diglot.service.command.workers.link import Message, packed
from diglot.service.command.workers.ports import Ports
from diglot.service.command.workers.process import WorkerProcess
from diglot.service.config import Address, load
from diglot.service.telemetry.exposition import registry
from diglot.service.telemetry.metrics import Metrics


class Heard:
    """What a worker says, and what a census makes of it."""

    def __init__(self) -> None:
        self.census = Census(counting=True)
        self._news = asyncio.Event()
        self._events: list[Message] = []

    def __call__(self, worker: WorkerProcess, message: Message) -> None:
        self._events.append(message)
        if message["event"] == "counted":
            self.census.hear(worker, message["text"])
        self._news.set()

    async def until(self, event: str, text: str = "") -> None:
        while not any(
            each["event"] == event and text in each.get("text", "") for each in self._events
        ):
            self._news.clear()
            await self._news.wait()

    async def told(self) -> Scrape:
        return Scrape(generate_latest(await self.census.metrics([], {})).decode())


async def test_what_it_has_counted_is_known_without_asking_it(tmp_path: Path) -> None:
    """So it is not lost with one that is killed."""
    file = tmp_path / "diglot.toml"
    file.write_text(
        f'state = "{tmp_path}"\nauth.enabled = false\nstore.enabled = false\n'
        'admin.address = "127.0.0.1:0"\n[[models]]\nkind = "scripted"\n'
    )
    settings, heard = load(file), Heard()
    ports = Ports(Address("127.0.0.1", 0), Address("127.0.0.1", 0))
    worker = await WorkerProcess.started(1, ports.sockets, heard, settings.hang_seconds)
    try:
        worker.tell(
            "serve",
            index=1,
            command="serve",
            settings=packed(settings),
            sockets=[each.fileno() for each in ports.sockets],
            grpc=str(ports.grpc),
            serials={},
            news=[],
        )
        await heard.until("ready")
        body = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
        async with aiohttp.ClientSession() as http:
            for _ in range(3):
                url = f"http://{ports.http}/v1/chat/completions"
                async with http.post(url, json=body) as answer:
                    assert answer.status == 200
        await heard.until("counted", 'diglot_requests_total{model="scripted",outcome="ok"} 3.0')
    finally:
        worker.kill()
        assert await worker.ended() == "killed by SIGKILL"
        ports.close()
    heard.census.bury(worker)
    told = await heard.told()
    assert told("diglot_requests_total", outcome="ok") == 3
    assert told("diglot_http_requests_total", status="200") == 3


class Asked:
    """A worker that answers when it is let."""

    silent = False
    index = 1

    def __init__(self) -> None:
        self.asked, self.let = asyncio.Event(), asyncio.Event()
        metrics = Metrics()
        metrics.models["m"].outcomes["ok"] = 3
        self.text = generate_latest(registry(metrics)).decode()

    async def ask(self, do: str) -> Message:
        self.asked.set()
        await self.let.wait()
        return {"text": self.text}


async def test_one_that_ends_while_others_are_asked_is_counted_once() -> None:
    """It has answered already, and so has its end."""
    census, quick, slow = Census(counting=True), Asked(), Asked()
    workers = {cast(WorkerProcess, each): each for each in (quick, slow)}
    for worker, each in workers.items():
        census.hear(worker, each.text)
    scraping = asyncio.ensure_future(census.metrics(workers, {}))
    await slow.asked.wait()
    quick.let.set()
    ended = next(iter(workers))
    del workers[ended]
    census.bury(ended)
    slow.let.set()
    told = Scrape(generate_latest(await scraping).decode())
    assert told("diglot_requests_total", outcome="ok") == 6
