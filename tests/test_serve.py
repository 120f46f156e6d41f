"""The servers as users run them: real processes, real signals, real certificates."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
from pathlib import Path

import aiohttp
import grpc
import openai
import pytest
from certificates import self_signed
from processes import children_of, is_alive
from serving import ask
from serving_process import Server, pasted, serving, started
from terminal import diglot

from diglot.service.keys import KeyRing
from diglot.service.state import KEYS_FILE
from diglot.v1 import chat_pb2_grpc, model_pb2, model_pb2_grpc

QUESTION = [{"role": "user", "content": "hello there"}]


async def post(server: Server, key: str, **body: object) -> tuple[int, dict[str, object]]:
    body = {"model": "scripted", "messages": QUESTION} | body
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{server.http}/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {key}"},
        ) as response,
    ):
        return response.status, await response.json()


def metadata(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key}"),)


async def test_the_first_start_shows_a_key_and_a_line_to_paste(tmp_path: Path) -> None:
    """Later starts show neither the key nor another one, and still have a line that works."""
    for start in ("first", "later"):
        async with serving("--model", "scripted", "--state", str(tmp_path)) as server:
            line = await server.said("curl ")
            assert any("API key dg-" in said for said in server.out) == (start == "first")
            words = await pasted(line)
            assert words[0] == "curl"
            body = words[words.index("-d") + 1]
            headers = dict(
                words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H"
            )
            async with (
                aiohttp.ClientSession() as session,
                session.post(words[1], data=body, headers=headers) as answer,
            ):
                assert answer.status == 200
                assert "prime number" in (await answer.json())["choices"][0]["message"]["content"]
            assert await server.stop() == 0
            if start == "first":
                assert server.key not in "\n".join(server.err)
    stored = (tmp_path / KEYS_FILE).read_text()
    assert server.out
    assert "dg-" not in stored


async def test_a_key_revoked_is_a_key_refused_on_both_faces(tmp_path: Path) -> None:
    async with serving("--model", "scripted", "--state", str(tmp_path)) as server:
        key = (await diglot("key", "add", "mine", "--state", str(tmp_path))).out.strip()
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            chat = chat_pb2_grpc.ChatServiceStub(channel)
            assert (await post(server, key))[0] == 200
            assert (await chat.CreateChatCompletion(ask(), metadata=metadata(key))).id
            assert (await diglot("key", "revoke", "mine", "--state", str(tmp_path))).code == 0
            status, body = await post(server, key)
            assert (status, body["error"]["code"]) == (401, "invalid_api_key")  # type: ignore[index]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await chat.CreateChatCompletion(ask(), metadata=metadata(key))
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert await server.stop() == 0
        assert key not in "\n".join(server.err)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_it_finishes_what_is_in_flight(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with serving("--model", "scripted", "--state", str(tmp_path)) as server:
        key = KeyRing(tmp_path / KEYS_FILE).add("test")
        client = openai.AsyncOpenAI(base_url=server.http, api_key=key, max_retries=0)
        async with client:
            stream = await client.chat.completions.create(
                model="scripted",
                messages=[{"role": "user", "content": "a b c d e f"}],
                stream=True,
                extra_body={"scripted": {"interval_ms": 50}},
            )
            chunks = aiter(stream)
            text = (await anext(chunks)).choices[0].delta.content or ""
            server.process.send_signal(number)
            async for chunk in chunks:
                text += chunk.choices[0].delta.content or ""
            assert text == "a b c d e f"
        assert await server.ended() == 0
        assert not [line for line in server.err if "Traceback" in line or "ERROR" in line]


async def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    async with serving("--model", "scripted", "--state", str(tmp_path)) as server:
        key = KeyRing(tmp_path / KEYS_FILE).add("test")
        waiting = asyncio.ensure_future(post(server, key, scripted={"interval_ms": 600_000}))
        await server.logged("ready")
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            stub = chat_pb2_grpc.ChatServiceStub(channel)
            call = stub.StreamChatCompletion(
                ask(script={"interval_ms": 600_000}), metadata=metadata(key)
            )
            await anext(aiter(call))
            server.process.send_signal(signal.SIGINT)
            await server.logged("stopping")
            assert await server.stop(signal.SIGINT) == -signal.SIGINT
            call.cancel()
        with pytest.raises(aiohttp.ClientError):
            await waiting


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_stopped_while_the_model_is_loading_it_leaves_nothing_behind(
    tmp_path: Path, model_path: Path, number: signal.Signals
) -> None:
    arguments = ("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--state", str(tmp_path))
    async with started("serve", *arguments, "--model", str(model_path)) as server:
        await server.logged("loading the model")
        children = children_of(server.process.pid)
        assert len(children) == 1
        status = await server.stop(number)
        assert status == (0 if number != signal.SIGKILL else -number)
    while any(map(is_alive, children)):
        await asyncio.sleep(0.01)


async def test_the_embedded_model_answers_on_both_faces(tmp_path: Path, model_path: Path) -> None:
    """And goes when its server is killed."""
    name = "tiny/model:q4"
    config = tmp_path / "diglot.toml"
    # One thread: threads of the model that wait for each other suffer from busy neighbours.
    config.write_text(
        f"""
        [[models]]
        kind = "embedded"
        name = "{name}"
        source = "{model_path}"
        context_tokens = 512
        threads = 1
        """
    )
    async with serving("--config", str(config), "--state", str(tmp_path)) as server:
        key = KeyRing(tmp_path / KEYS_FILE).add("test")
        client = openai.AsyncOpenAI(
            base_url=server.http, api_key=key, max_retries=0, _strict_response_validation=True
        )
        async with client:
            assert [model.id async for model in client.models.list()] == [name]
            answer = await client.chat.completions.create(
                model=name, messages=[{"role": "user", "content": "Hi"}], max_tokens=8, seed=1
            )
            stream = await client.chat.completions.create(
                model=name,
                messages=[{"role": "user", "content": "Hi"}],
                max_tokens=8,
                seed=1,
                stream=True,
            )
            streamed = [chunk.choices[0].delta.content or "" async for chunk in stream]
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            stub = chat_pb2_grpc.ChatServiceStub(channel)
            request = ask("Hi", model=name, max_tokens=8, seed=1)
            whole = await stub.CreateChatCompletion(request, metadata=metadata(key))
        assert answer.choices[0].message.content
        assert answer.choices[0].message.content == "".join(streamed)
        assert answer.choices[0].message.content == whole.choices[0].message.content
        children = children_of(server.process.pid)
        server.process.kill()
        while any(map(is_alive, children)):
            await asyncio.sleep(0.01)


async def test_service_and_facade_apart(tmp_path: Path) -> None:
    grpc_only = ("service", "--grpc", "127.0.0.1:0", "--model", "scripted")
    async with started(*grpc_only, "--state", str(tmp_path)) as service:
        await service.said("models")
        facade_only = ("facade", "--http", "127.0.0.1:0", "--service", service.grpc)
        async with started(*facade_only) as facade:
            await facade.said("from")
            key = KeyRing(tmp_path / KEYS_FILE).add("test")
            status, body = await post(facade, key)
            assert status == 200
            assert (await post(facade, "dg-no"))[0] == 401
            assert await service.stop() == 0
            status, body = await post(facade, key)
            assert (status, body["error"]["type"]) == (503, "server_error")  # type: ignore[index]
            assert await facade.stop(signal.SIGINT) == 0


async def test_tls_on_both_faces_and_mtls_between_services(tmp_path: Path) -> None:
    certificate, key_file = self_signed(tmp_path, "server")
    client_certificate, client_key = self_signed(tmp_path, "client")
    config = tmp_path / "diglot.toml"
    config.write_text(
        f"""
        state = "{tmp_path}"
        [http]
        address = "127.0.0.1:0"
        tls_cert = "{certificate}"
        tls_key = "{key_file}"
        [grpc]
        address = "127.0.0.1:0"
        tls_cert = "{certificate}"
        tls_key = "{key_file}"
        tls_client_ca = "{client_certificate}"
        [[models]]
        kind = "scripted"
        """
    )
    async with started("serve", "--config", str(config)) as server:
        line = await server.said("curl ")
        assert f"--cacert {certificate}" in line
        headers = {"Authorization": f"Bearer {server.key}"}
        trust = ssl.create_default_context(cafile=certificate)
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"{server.http}/models", ssl=trust) as response,
        ):
            assert response.status == 200
        authority, own, own_key = (
            path.read_bytes() for path in (certificate, client_certificate, client_key)
        )
        ours = grpc.ssl_channel_credentials(authority, own_key, own)
        async with grpc.aio.secure_channel(server.grpc, ours) as channel:
            stub = model_pb2_grpc.ModelServiceStub(channel)
            listed = await stub.ListModels(
                model_pb2.ListModelsRequest(), metadata=metadata(server.key)
            )
            assert [model.id for model in listed.models] == ["scripted"]
        nobodys = grpc.ssl_channel_credentials(authority)
        async with grpc.aio.secure_channel(server.grpc, nobodys) as channel:
            stub = model_pb2_grpc.ModelServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.ListModels(model_pb2.ListModelsRequest(), timeout=5)
        assert await server.stop() == 0


async def test_a_port_in_use_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for flag, other in (("--http", "--grpc"), ("--grpc", "--http")):
            outcome = await diglot(
                *("serve", flag, address, other, "127.0.0.1:0"),
                *("--model", "scripted", "--state", str(tmp_path)),
            )
            assert outcome.code == 1
            assert address in outcome.err.splitlines()[-1]
            assert "Traceback" not in outcome.err


async def test_a_host_that_does_not_exist_is_said_so(tmp_path: Path) -> None:
    outcome = await diglot(
        *("serve", "--http", "nosuchhost.invalid:1", "--grpc", "127.0.0.1:0"),
        *("--model", "scripted", "--state", str(tmp_path)),
    )
    assert outcome.code == 1
    assert "cannot listen on nosuchhost.invalid:1: " in outcome.err
    assert "Unknown error" not in outcome.err


async def test_open_to_the_world_it_warns(tmp_path: Path) -> None:
    config = tmp_path / "diglot.toml"
    config.write_text('[auth]\nenabled = false\n[[models]]\nkind = "scripted"\n')
    arguments = ("--http", "0.0.0.0:0", "--grpc", "0.0.0.0:0", "--log-format", "json")
    async with started(
        "serve", *arguments, "--config", str(config), "--state", str(tmp_path)
    ) as server:
        line = await server.said("curl ")
        assert "Authorization" not in line
        assert "127.0.0.1" in line
        assert (await post(server, "none"))[0] == 200
        await server.stop()
    records = [json.loads(line) for line in server.err]
    warnings = [record["message"] for record in records if record["level"] == "warning"]
    assert sum("without TLS" in warning for warning in warnings) == 2
    assert sum("auth is off" in warning for warning in warnings) == 1
    assert any(record["message"] == "completion" for record in records)


async def test_a_model_that_cannot_be_had_ends_the_start_with_the_reason(tmp_path: Path) -> None:
    outcome = await diglot(
        *("serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--state", str(tmp_path)),
        *("--model", "http://127.0.0.1:1/no-such.gguf"),
    )
    assert outcome.code == 1
    assert "127.0.0.1:1" in outcome.err.splitlines()[-1]
    assert "Traceback" not in outcome.err
