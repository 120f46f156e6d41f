"""Several processes on the same ports: real ones, with real signals, under load."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import aiohttp
import grpc
import openai
import pytest
from processes import children_of, is_alive
from prometheus_client.parser import text_string_to_metric_families
from serving import ask
from serving_process import READY, Server, serving, started
from terminal import diglot

from diglot.service.command.arguments import Failure
from diglot.service.command.workers.ports import Ports
from diglot.service.config import Address
from diglot.service.keys import KeyRing
from diglot.service.state import KEYS_FILE
from diglot.v1.chat_pb2_grpc import ChatServiceStub

# Each channel a connection of its own, as those of different clients are.
OWN = [("grpc.use_local_subchannel_pool", 1)]
T = TypeVar("T")

CALLERS = 6
BURST = 8
WORDS = "a b c d e f g h"
SCRIPTED = '[[models]]\nkind = "scripted"\n'


def write(directory: Path, models: str = SCRIPTED, more: str = "store.enabled = false") -> Path:
    file = directory / "diglot.toml"
    file.write_text(f'state = "{directory}"\nworkers = 2\nauth.enabled = false\n{more}\n{models}')
    return file


def workers_of(server: Server) -> list[int]:
    return [pid for pid in children_of(server.process.pid) if ".workers.worker" in command(pid)]


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


async def over_http(
    server: Server,
    content: str = "hello there",
    headers: dict[str, str] | None = None,
    **body: object,
) -> str:
    """On a connection of its own. Raises ClientError."""
    asked = {"model": "scripted", "messages": [{"role": "user", "content": content}], **body}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{server.http}/chat/completions", json=asked) as answer,
    ):
        text = await answer.text()
        assert answer.status == 200, text
        return text


async def over_grpc(server: Server, content: str = "hello there", **script: object) -> str:
    async with grpc.aio.insecure_channel(server.grpc, options=OWN) as channel:
        chunks = ChatServiceStub(channel).StreamChatCompletion(
            ask(content, script=script or None), wait_for_ready=True
        )
        return "".join([chunk.choices[0].delta.content async for chunk in chunks])


async def until_both_answered(server: Server, once: Callable[[], Awaitable[T]]) -> list[T]:
    """Asks until the log has completions of both workers."""
    answers: list[T] = []
    seen: set[str] = set()
    while seen != {"1", "2"}:
        answers += await asyncio.gather(*(once() for _ in range(BURST)))
        for _ in range(BURST):
            line = await server.logged("chat: completion")
            seen.update(re.findall(r"worker=(\d)", line))
    return answers


class Asking:
    """Streams of eight words, and how many of them have begun."""

    def __init__(self) -> None:
        self._begun = asyncio.Semaphore(0)

    async def begun(self, count: int) -> None:
        for _ in range(count):
            await self._begun.acquire()

    async def http(self, server: Server, interval_ms: int = 60) -> str:
        text, begun = "", False
        async with openai.AsyncOpenAI(base_url=server.http, api_key="x", max_retries=0) as client:
            stream = await client.chat.completions.create(
                model="scripted",
                messages=[{"role": "user", "content": WORDS}],
                stream=True,
                extra_body={"scripted": {"interval_ms": interval_ms}},
            )
            async for chunk in stream:
                if not begun:
                    self._begun.release()
                begun = True
                text += chunk.choices[0].delta.content or ""
        return text

    async def grpc(self, server: Server) -> str:
        text = ""
        async with grpc.aio.insecure_channel(server.grpc, options=OWN) as channel:
            asked = ask(WORDS, script={"interval_ms": 60})
            async for chunk in ChatServiceStub(channel).StreamChatCompletion(asked):
                if not text:
                    self._begun.release()
                text += chunk.choices[0].delta.content
        return text


class Load:
    """Callers that ask without a pause, over both faces."""

    def __init__(self, server: Server) -> None:
        self.whole = 0
        self.failures: list[BaseException] = []
        self._enough = False
        self._news = asyncio.Event()
        asking: list[Callable[[], Awaitable[object]]] = [
            lambda: over_http(server, stream=True, scripted={"interval_ms": 5}),
            lambda: over_http(server),
            lambda: over_grpc(server, interval_ms=5),
        ]
        callers = asking * (CALLERS // len(asking))
        self._callers = [asyncio.ensure_future(self._ask(each)) for each in callers]

    async def goes_on(self) -> None:
        """Returns when there are so many more answers that some must have begun since."""
        wanted = self.whole + 4 * len(self._callers)
        while self.whole < wanted:
            self._news.clear()
            await self._news.wait()

    async def stop(self) -> None:
        self._enough = True
        await asyncio.gather(*self._callers)

    async def _ask(self, once: Callable[[], Awaitable[object]]) -> None:
        while not self._enough:
            try:
                await once()
                self.whole += 1
            except (aiohttp.ClientError, grpc.aio.AioRpcError) as error:
                self.failures.append(error)
            self._news.set()


@asynccontextmanager
async def loaded(server: Server) -> AsyncIterator[Load]:
    load = Load(server)
    try:
        await load.goes_on()
        yield load
    finally:
        await load.stop()


async def test_both_answer_on_both_faces_and_speak_with_one_voice(tmp_path: Path) -> None:
    """With the same keys and the same store, whoever wrote to them."""
    async with serving(
        *("--workers", "2", "--model", "scripted", "--state", str(tmp_path))
    ) as server:
        key = KeyRing(tmp_path / KEYS_FILE).add("later")
        bearer = {"Authorization": f"Bearer {key}"}
        assert len(workers_of(server)) == 2
        answers = await until_both_answered(
            server, lambda: over_http(server, headers=bearer, store=True)
        )
        stored = {json.loads(answer)["id"] for answer in answers}
        assert len(stored) == len(answers)
        async with aiohttp.ClientSession(server.http + "/", headers=bearer) as http:
            for name in stored:
                async with http.get(f"chat/completions/{name}") as kept:
                    assert (await kept.json())["id"] == name

        async def call() -> None:
            async with grpc.aio.insecure_channel(server.grpc, options=OWN) as channel:
                metadata = (("authorization", f"Bearer {key}"),)
                await ChatServiceStub(channel).CreateChatCompletion(ask(), metadata=metadata)

        await until_both_answered(server, call)
        assert await server.stop() == 0
        said = "\n".join(server.out)
        assert said.count("API key") == said.count(READY) == said.count("HTTP ") == 1
        logged = "\n".join(server.err)
        assert logged.count(" listening ") == logged.count(" ready ") == 1
        assert logged.count(" stopping") == 1
        assert "ERROR" not in logged


async def test_a_second_server_on_the_same_port_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path)
    async with serving("--config", str(file)) as server:
        taken = server.http.removeprefix("http://").removesuffix("/v1")
        for address, *arguments in (
            (taken, "--http", taken, "--grpc", "127.0.0.1:0"),
            (server.grpc, "--grpc", server.grpc, "--http", "127.0.0.1:0"),
            (server.grpc, "--grpc", server.grpc, "--http", "127.0.0.1:0", "--workers", "1"),
        ):
            outcome = await diglot("serve", *arguments, "--config", str(file))
            assert outcome.code == 1
            assert f"cannot listen on {address}" in outcome.err.splitlines()[-1]
            assert "Traceback" not in outcome.err


def test_a_port_that_is_held_is_free_for_those_who_share_it_alone() -> None:
    ports = Ports(None, Address("127.0.0.1", 0))
    try:
        assert ports.grpc is not None
        with pytest.raises(Failure, match=f"cannot listen on {ports.grpc}"):
            Ports(None, ports.grpc)
        with pytest.raises(Failure, match="cannot listen on"):
            Ports(ports.grpc, None)
        place = (ports.grpc.host, ports.grpc.port)
        with pytest.raises(OSError), socket.create_server(place):
            pass
        with socket.create_server(place, reuse_port=True):
            pass
    finally:
        ports.close()
    with socket.create_server(place):
        pass


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


async def test_what_keeps_a_worker_from_starting_ends_the_start(tmp_path: Path) -> None:
    """Said once, with the place in the configuration."""
    file = write(tmp_path, more=f'store.url = "sqlite:///{tmp_path}"')
    ports = ("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
    for arguments, why in (
        (("--config", str(file)), "store.url: cannot open the database"),
        (("--model", "http://127.0.0.1:1/no.gguf", "--workers", "2"), "127.0.0.1:1"),
    ):
        outcome = await diglot("serve", *ports, *arguments, "--state", str(tmp_path))
        assert outcome.code == 1
        assert why in outcome.err.splitlines()[-1]
        assert sum(why in line for line in outcome.err.splitlines()) == 1
        assert "Traceback" not in outcome.err


async def test_service_and_facade_each_in_several_processes(tmp_path: Path) -> None:
    file = write(tmp_path)
    async with started("service", "--grpc", "127.0.0.1:0", "--config", str(file)) as service:
        await service.said("models")
        facade_only = ("--http", "127.0.0.1:0", "--service", service.grpc, "--config", str(file))
        async with started("facade", *facade_only) as facade:
            await facade.said("from")
            await asyncio.gather(*(over_http(facade) for _ in range(10)))
            assert len(workers_of(service)) == len(workers_of(facade)) == 2
            assert await facade.stop() == 0
        assert await service.stop() == 0


EMBEDDED = """
[[models]]
name = "small"
kind = "embedded"
source = "{source}"
context_tokens = 512
parallel = 2
threads = 1
"""


async def test_they_share_one_model(tmp_path: Path, model_path: Path) -> None:
    """Which outlives a worker, is back for all of them when it dies, and goes with the parent."""
    file = write(tmp_path, EMBEDDED.format(source=model_path))

    async def answered(server: Server) -> None:
        for answer in await until_both_answered(
            server, lambda: over_http(server, "Hi", model="small", max_tokens=2)
        ):
            assert json.loads(answer)["choices"][0]["message"]["content"]

    def models(server: Server) -> list[int]:
        return [each for each in children_of(server.process.pid) if ".child" in command(each)]

    async with serving("--config", str(file)) as server:
        (model,) = models(server)
        await answered(server)
        os.kill(workers_of(server)[0], signal.SIGKILL)
        await server.logged("a worker ended")
        await answered(server)
        assert models(server) == [model]
        os.kill(model, signal.SIGKILL)
        await server.logged("the model is ready")
        (again,) = models(server)
        assert again != model
        await answered(server)
        write(tmp_path, SCRIPTED)
        server.process.send_signal(signal.SIGHUP)
        await server.logged("the configuration is reloaded")
        while is_alive(again):
            await asyncio.sleep(0.01)
        write(tmp_path, EMBEDDED.format(source=model_path))
        server.process.send_signal(signal.SIGHUP)
        await server.logged("the configuration is reloaded")
        await answered(server)
        left = children_of(server.process.pid)
        assert len(left) == 3
        server.process.kill()
        while any(map(is_alive, left)):
            await asyncio.sleep(0.01)
