"""SIGHUP to a real server: what runs goes on, what changed holds, what is wrong is refused."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import grpc
import pytest
from faulty_upstream import saying, upstream
from held_upstream import TALKING, held_upstream
from scrape import scrape
from serving import ask
from serving_process import READY, Server, serving, started

from diglot.v1.chat_pb2_grpc import ChatServiceStub

RELOADED = "the configuration is reloaded"


def model(name: str, base_url: str) -> str:
    return f'[[models]]\nname = "{name}"\nkind = "upstream"\nbase_url = "{base_url}"\n'


@dataclass
class Reloading:
    server: Server
    file: Path
    http: aiohttp.ClientSession

    async def reload(self, models: str, more: str = "", says: str = RELOADED) -> str:
        """The line of the log that has these words."""
        write(self.file, models, more)
        self.server.process.send_signal(signal.SIGHUP)
        return await self.server.logged(says)

    async def post(self, name: str, content: str = "quick", **body: object) -> tuple[int, str]:
        body = {"model": name, "messages": [{"role": "user", "content": content}], **body}
        async with self.http.post("chat/completions", json=body) as response:
            return response.status, await response.text()

    async def names(self) -> list[str]:
        async with self.http.get("models") as response:
            return [entry["id"] for entry in (await response.json())["data"]]


def write(file: Path, models: str, more: str = "") -> None:
    off = "store.enabled = false\nauth.enabled = false\n"
    file.write_text(f'state = "{file.parent}"\n{off}{more}\n{models}')


@asynccontextmanager
async def reloading(directory: Path, models: str) -> AsyncIterator[Reloading]:
    file = directory / "diglot.toml"
    write(file, models)
    async with (
        serving("--config", str(file), "--admin", "127.0.0.1:0") as server,
        aiohttp.ClientSession(server.http + "/") as http,
    ):
        yield Reloading(server, file, http)


async def stream_over_http(server: Reloading, name: str) -> str:
    _, text = await server.post(name, TALKING, stream=True)
    return text


async def stream_over_grpc(server: Reloading, name: str) -> str:
    async with grpc.aio.insecure_channel(server.server.grpc) as channel:
        chunks = ChatServiceStub(channel).StreamChatCompletion(ask(TALKING, model=name))
        return "".join([chunk.choices[0].delta.content async for chunk in chunks])


async def test_streams_go_on_over_a_reload(tmp_path: Path) -> None:
    """On both faces, also of a model that is gone, and of one that is elsewhere now."""
    async with held_upstream() as held, upstream(saying("new")) as other:
        old = model("gone", held.base_url("gone")) + model("moved", held.base_url("moved"))
        new = model("moved", other.base_url) + model("came", other.base_url)
        async with reloading(tmp_path, old) as server:
            streams = [
                asyncio.ensure_future(stream(server, name))
                for stream in (stream_over_http, stream_over_grpc)
                for name in ("gone", "moved")
            ]
            await held.asked(TALKING, times=4)
            line = await server.reload(new)
            assert "started=2" in line
            assert "dropped=2" in line
            assert await server.names() == ["moved", "came"]
            assert (await server.post("gone"))[0] == 404
            for name in ("moved", "came"):
                status, text = await server.post(name)
                assert (status, "new" in text) == (200, True)
            assert not any(stream.done() for stream in streams)
            held.release()
            for over_http in await asyncio.gather(*streams[:2]):
                assert over_http.rstrip().endswith("data: [DONE]")
                assert '" two"' in over_http
            assert await asyncio.gather(*streams[2:]) == ["one two", "one two"]
            assert await server.server.stop() == 0


async def test_limits_change_while_streams_go_on(tmp_path: Path) -> None:
    """What runs counts under the new ones; what waits is let in as soon as they have room."""
    async with held_upstream() as held:
        models = model("m", held.base_url("m"))
        async with reloading(tmp_path, models + "max_running = 1\nmax_queued = 1\n") as server:
            first = asyncio.ensure_future(stream_over_http(server, "m"))
            await held.asked(TALKING, times=1)
            second = asyncio.ensure_future(stream_over_grpc(server, "m"))
            # Asked of the metrics: a request that looks could itself take the one place to wait.
            while not (await scrape(f"{server.server.admin}/metrics"))("diglot_requests_queued"):
                pass
            assert (await server.post("m"))[0] == 503
            line = await server.reload(models + "max_running = 2\nmax_queued = 0\n")
            assert "kept=1" in line
            await held.asked(TALKING, times=2)
            assert (await server.post("m"))[0] == 503
            assert not first.done()
            held.release()
            assert (await first).rstrip().endswith("data: [DONE]")
            assert await second == "one two"
            assert (await server.post("m"))[0] == 200


async def test_a_bad_configuration_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    async with upstream(saying("well")) as good:
        models = model("m", good.base_url)
        async with reloading(tmp_path, models) as server:
            line = await server.reload(
                models.replace("base_url", "bse_url"), says="the old one stays"
            )
            assert "models[0].bse_url" in line
            assert "models[0].base_url" in line
            line = await server.reload("=", says="the old one stays")
            assert "is not TOML" in line
            assert (await server.post("m"))[0] == 200
            line = await server.reload(
                models + '[[models]]\nname = "x"\nkind = "embedded"\n'
                'source = "http://127.0.0.1:1/x.gguf"\n',
                says="the old configuration stays",
            )
            assert "127.0.0.1:1" in line
            assert await server.names() == ["m"]
            assert "kept=1" in await server.reload(models)
            assert (await server.post("m"))[0] == 200


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_server_without_a_model_that_answers_is_reloaded(
    tmp_path: Path, workers: int
) -> None:
    """It is not ready before that, and says so then."""
    file = tmp_path / "diglot.toml"
    nowhere = '[[models]]\nname = "nowhere"\nkind = "diglot"\ntarget = "127.0.0.1:1"\n'
    write(file, nowhere)
    ports = ("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--workers", str(workers))
    async with (
        upstream(saying("well")) as good,
        started("serve", *ports, "--config", str(file)) as server,
    ):
        await server.said("models")
        async with aiohttp.ClientSession(server.http + "/") as http:
            reloaded = Reloading(server, file, http)
            assert (await reloaded.post("nowhere"))[0] == 503
            line = await reloaded.reload(model("x", "bad"), says="the old one stays")
            assert "models[0].base_url" in line
            await reloaded.reload(model("m", good.base_url))
            await server.said(READY)
            assert await reloaded.names() == ["m"]
            status, text = await reloaded.post("m")
            assert (status, "well" in text) == (200, True)
            await server.said('"model": "m"')
            await reloaded.reload(model("n", good.base_url))
            assert await reloaded.names() == ["n"]
        assert await server.stop() == 0


async def test_what_needs_a_restart_is_said(tmp_path: Path) -> None:
    async with upstream(saying("well")) as good:
        models = model("m", good.base_url)
        async with reloading(tmp_path, models) as server:
            more = "http.keep_alive_seconds = 3\nlog.level = 'debug'"
            line = await server.reload(models, more, says="needs a restart")
            assert "http.keep_alive_seconds" in line
            assert "log.level" in line
            assert "http.address" not in line
            assert (await server.post("m"))[0] == 200


async def test_keys_are_changed_without_a_restart(tmp_path: Path) -> None:
    """Of an upstream, in the file that holds it."""
    (tmp_path / "key").write_text("first-key")
    async with upstream(saying("well")) as good:
        models = model("m", good.base_url) + 'api_key_file = "key"\n'
        async with reloading(tmp_path, models) as server:
            await server.post("m")
            (tmp_path / "key").write_text("second-key")
            await server.reload(models)
            await server.post("m")
        keys = [exchange.headers["authorization"] for exchange in good.exchanges]
        assert keys == ["bearer first-key", "bearer second-key"]


async def test_a_facade_survives_a_hangup_and_says_what_needs_a_restart(tmp_path: Path) -> None:
    """All that it reads does."""
    file = tmp_path / "diglot.toml"
    file.write_text("http.keep_alive_seconds = 3\n")
    arguments = ("--http", "127.0.0.1:0", "--service", "127.0.0.1:1", "--config", str(file))
    async with started("facade", *arguments) as facade:
        await facade.said("from")
        for text, words, more in (
            ("http.keep_alive_seconds = 3\n", "the configuration is as it was", ""),
            ("http.keep_alive_seconds = 4\n", "needs a restart", "http.keep_alive_seconds"),
            ("http.keep_alive_second = 4\n", "the old one stays", "http.keep_alive_second:"),
        ):
            file.write_text(text)
            facade.process.send_signal(signal.SIGHUP)
            assert more in await facade.logged(words)
        async with aiohttp.ClientSession() as http, http.get(f"{facade.http}/../healthz") as answer:
            assert answer.status == 200
        assert await facade.stop() == 0


async def test_without_a_file_a_hangup_ends_the_server(tmp_path: Path) -> None:
    """As it ends whatever a closed terminal has started."""
    async with serving("--model", "scripted", "--state", str(tmp_path)) as server:
        assert await server.stop(signal.SIGHUP) == -signal.SIGHUP
