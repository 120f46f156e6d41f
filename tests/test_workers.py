"""Several processes on the same ports: real ones, with real signals, under load."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import aiohttp
import grpc
import pytest
from serving import ask
from serving_process import READY, serving, started
from terminal import diglot
from workers import OWN, over_http, until_both_answered, workers_of, write

from diglot.service.command.arguments import Failure
from diglot.service.command.workers.ports import Ports
from diglot.service.config import Address
from diglot.service.keys import KeyRing
from diglot.service.state import KEYS_FILE
from diglot.v1.chat_pb2_grpc import ChatServiceStub


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
            why = f"cannot listen on {address}: Address already in use"
            assert why in outcome.err.splitlines()[-1]
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
