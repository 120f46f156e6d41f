"""The admin port of real servers: what it says, and where."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from scrape import scrape
from serving import ask
from serving_process import Server, serving, started
from terminal import diglot

from diglot.service.config import ConfigError, load
from diglot.service.keys import KeyRing
from diglot.service.state import KEYS_FILE
from diglot.v1.chat_pb2_grpc import ChatServiceStub

ADMIN = ("--admin", "127.0.0.1:0")
SCRIPTED = ("--model", "scripted")


def admin_of(server: Server) -> str:
    """The base URL that it said."""
    found = re.search(r"admin +(http://\S+)/metrics", "\n".join(server.out))
    assert found is not None, server.out
    return found.group(1)


async def read(url: str) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.json()


async def test_a_server_counts_refused_keys_and_stored_answers(tmp_path: Path) -> None:
    """On both faces. The admin port itself asks for no key."""
    async with serving(*SCRIPTED, *ADMIN, "--state", str(tmp_path)) as server:
        key = KeyRing(tmp_path / KEYS_FILE).add("test")
        body = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
        async with aiohttp.ClientSession() as session:
            for shown, status in ((key, 200), ("dg-wrong", 401)):
                async with session.post(
                    f"{server.http}/chat/completions",
                    json=body | {"store": True},
                    headers={"Authorization": f"Bearer {shown}"},
                ) as response:
                    assert response.status == status
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await ChatServiceStub(channel).CreateChatCompletion(ask())
        seen = await scrape(f"{admin_of(server)}/metrics")
        assert seen("diglot_requests_total", model="", outcome="invalid_api_key") == 2
        assert seen("diglot_requests_total", model="scripted", outcome="ok") == 1
        assert seen("diglot_store_writes_total", outcome="ok") == 1
        assert seen("diglot_http_requests_total", status="401") == 1
        assert await server.stop() == 0


async def test_probes_of_a_service_without_the_http_face(tmp_path: Path) -> None:
    arguments = ("service", "--grpc", "127.0.0.1:0", *SCRIPTED, *ADMIN, "--state", str(tmp_path))
    async with started(*arguments) as server:
        await server.said("models")
        await server.logged("ready seconds")
        admin = admin_of(server)
        assert await read(f"{admin}/healthz") == (200, {"status": "ok"})
        assert await read(f"{admin}/readyz") == (200, {"status": "ready"})
        assert (await scrape(f"{admin}/metrics"))("diglot_model_ready", model="scripted") == 1
        assert await server.stop() == 0


async def test_probes_of_a_facade_without_its_service(tmp_path: Path) -> None:
    """It lives, and says why it is not ready; its metrics are those of HTTP."""
    arguments = ("facade", "--http", "127.0.0.1:0", "--service", "127.0.0.1:1", *ADMIN)
    async with started(*arguments) as server:
        await server.said("from")
        admin = admin_of(server)
        assert (await read(f"{admin}/healthz"))[0] == 200
        status, said = await read(f"{admin}/readyz")
        assert (status, said["reason"]) == (503, "the service cannot be reached, or is not ready")
        assert (await read(f"{server.http.removesuffix('/v1')}/healthz"))[0] == 200
        seen = await scrape(f"{admin}/metrics")
        assert seen("diglot_http_requests_total", route="/healthz", status="200") == 1
        assert "diglot_model_ready" not in seen.families
        assert await server.stop() == 0


async def test_a_server_that_stops_is_not_ready_while_it_finishes(tmp_path: Path) -> None:
    """And its numbers can be read until its end."""
    async with serving(*SCRIPTED, *ADMIN, "--state", str(tmp_path)) as server:
        key = KeyRing(tmp_path / KEYS_FILE).add("test")
        admin = admin_of(server)
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            script = {"content": "a b", "interval_ms": 600_000}
            call = ChatServiceStub(channel).StreamChatCompletion(
                ask(script=script), metadata=(("authorization", f"Bearer {key}"),)
            )
            assert await call.read() is not grpc.aio.EOF
            server.process.send_signal(signal.SIGTERM)
            await server.logged("stopping")
            assert await read(f"{admin}/readyz") == (
                503,
                {"status": "not ready", "reason": "stopping"},
            )
            assert (await scrape(f"{admin}/metrics"))("diglot_requests_in_flight") == 1
            call.cancel()
        assert await server.ended() == 0


async def test_an_admin_port_in_use_is_said_in_one_line(tmp_path: Path) -> None:
    async with asyncio.timeout(30):
        taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        async with taken:
            address = f"127.0.0.1:{taken.sockets[0].getsockname()[1]}"
            outcome = await diglot("serve", *SCRIPTED, "--state", str(tmp_path), "--admin", address)
    assert outcome.code == 1
    assert f"cannot listen on {address}: Address already in use" in outcome.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('admin.address = "9464"', 'write for example "127.0.0.1:9464"'),
        ('traces.endpoint = "collector:4318"', "write http://HOST:4318"),
        ('traces.endpoint = "http://me:secret@c:4318"', "set OTEL_EXPORTER_OTLP_HEADERS"),
        ("traces.sample_ratio = 1.5", "it must be at most 1"),
    ],
)
def test_what_is_wrong_in_the_configuration_is_named(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "diglot.toml"
    file.write_text(line)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_traces_without_the_extra_are_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("diglot.service.config.telemetry.find_spec", absent)
    file = tmp_path / "diglot.toml"
    file.write_text('traces.endpoint = "http://collector:4318"')
    with pytest.raises(ConfigError, match=r'pip install "diglot\[otel\]"'):
        load(file)


async def test_a_wrong_key_has_one_line_in_the_log_over_either_face(tmp_path: Path) -> None:
    """With the request's id, and without the key."""
    async with serving(*SCRIPTED, "--state", str(tmp_path)) as server:
        async with aiohttp.ClientSession() as session:
            headers = {"Authorization": "Bearer dg-wrong", "x-request-id": "over-http"}
            async with session.get(f"{server.http}/models", headers=headers) as response:
                assert response.status == 401
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            metadata = (("authorization", "Bearer dg-wrong"), ("x-request-id", "over-grpc"))
            with pytest.raises(grpc.aio.AioRpcError):
                await ChatServiceStub(channel).CreateChatCompletion(ask(), metadata=metadata)
        assert await server.stop() == 0
    for name in ("over-http", "over-grpc"):
        (line,) = (line for line in server.err if name in line)
        assert line.endswith(f"refused request_id={name} outcome=invalid_api_key status=401")


async def test_what_is_off_is_not_imported() -> None:
    """Else it would cost every start."""
    program = (
        "import sys, diglot.service.command.serve;"
        "print({'prometheus_client', 'opentelemetry'} & sys.modules.keys())"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out.decode() == "set()\n"
