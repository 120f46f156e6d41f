"""The core on a local Ray cluster: deploy/ray/serve.yaml, run as its user runs it.

Ray is 500 MB and takes its time, so `make test` leaves this out; `make test-ray` runs it.
"""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc_status import rpc_status
from held_upstream import ANSWER, QUICK, SILENT, TALKING, held_upstream
from serving import ask

from diglot.service.keys import KeyRing
from diglot.service.state import KEYS_FILE
from diglot.v1.chat_pb2 import GetChatCompletionRequest
from diglot.v1.chat_pb2_grpc import ChatServiceStub
from diglot.v1.model_pb2 import ListModelsRequest
from diglot.v1.model_pb2_grpc import ModelServiceStub

pytestmark = pytest.mark.ray

EXAMPLE = Path(__file__).parent.parent / "deploy" / "ray" / "serve.yaml"
REPLICAS = 3
CALLS = 45  # of each kind
RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # or it leaves a token in the home directory
}


@dataclass(frozen=True)
class Cluster:
    """A cluster of one machine, with the example's application. Its model is a HeldUpstream."""

    port: int
    key: str
    upstream_port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Its processes are known by it."""
        return {"DIGLOT_TEST_CLUSTER": f"{self.port};"}

    @property
    def _mark(self) -> bytes:
        return f"DIGLOT_TEST_CLUSTER={self.port};".encode()

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.key}"), ("x-request-id", "req_mine"))

    def processes(self) -> Iterator[tuple[int, bytes]]:
        """All of them, with their titles: Ray names its processes by what they do."""
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and self._mark in (entry / "environ").read_bytes():
                    yield int(entry.name), (entry / "cmdline").read_bytes()

    def replicas(self) -> set[int]:
        """The process ids of those that have started."""
        return {
            pid
            for pid, title in self.processes()
            if title.startswith(b"ray::ServeReplica:diglot:") and b".initialize" not in title
        }

    def wait_until_it_answers(self) -> None:
        with grpc.insecure_channel(self.address) as channel:
            models = ModelServiceStub(channel)
            while True:
                with suppress(grpc.RpcError):
                    models.ListModels(ListModelsRequest(), metadata=self.metadata, timeout=5)
                    if len(self.replicas()) == REPLICAS:
                        return
                time.sleep(0.2)  # nothing there says when it is ready


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("ray")
    key = KeyRing(directory / KEYS_FILE).add("test")
    running = Cluster(free_port(), key, free_port())
    config = directory / "diglot.toml"
    config.write_text(
        f"""
        state = "{directory}"
        [[models]]
        kind = "upstream"
        name = "scripted"
        base_url = "http://127.0.0.1:{running.upstream_port}/ray/v1"
        """
    )
    application: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    application["grpc_options"]["port"] = running.port
    application["http_options"] = {"port": 0}
    (deployed,) = application["applications"]
    deployed["args"]["config"] = str(config)
    (deployment,) = deployed["deployments"]
    assert deployment["num_replicas"] == REPLICAS
    deployment["ray_actor_options"]["num_cpus"] = 0.1  # so that three fit on any machine
    file = directory / "serve.yaml"
    file.write_text(yaml.safe_dump(application))
    port = free_port()
    start = ("start", "--head", "--block", "--include-dashboard=false", "--num-cpus=1")
    commands = []
    try:
        commands.append(Command(running, "ray", *start, f"--port={port}"))
        commands[0].said("Ray runtime started")
        commands.append(Command(running, "serve", "run", f"--address=127.0.0.1:{port}", str(file)))
        commands[1].said("Submitted deploy config")
        running.wait_until_it_answers()
        yield running
    finally:
        for pid, _ in running.processes():
            os.kill(pid, signal.SIGKILL)
        for each in commands:
            each.ended()


class Command:
    """One of Ray's, whose output is read all the time so that it never waits for that."""

    def __init__(self, running: Cluster, program: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [Path(sys.executable).parent / program, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **RAY, **running.environment},
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def said(self, words: str) -> None:
        said = []
        while line := self._lines.get():
            said.append(line)
            if words in line:
                return
        pytest.fail("".join(said))

    def ended(self) -> None:
        self._reader.join()
        self._process.communicate()


class Client:
    def __init__(self, running: Cluster, channel: grpc.aio.Channel) -> None:
        # The stubs' types know no asynchronous calls.
        self.chat: Any = ChatServiceStub(channel)
        self.models: Any = ModelServiceStub(channel)
        self._metadata = running.metadata

    async def create(self, question: str) -> str:
        answer = await self.chat.CreateChatCompletion(ask(question), metadata=self._metadata)
        content: str = answer.choices[0].message.content
        return content

    async def stream(self, question: str, heard: Callable[[], None] = lambda: None) -> str:
        """Calls `heard` with each chunk."""
        content = ""
        finished = False
        call = self.chat.StreamChatCompletion(ask(question), metadata=self._metadata)
        async for chunk in call:
            heard()
            content += chunk.choices[0].delta.content
            finished |= chunk.choices[0].HasField("finish_reason")
        assert finished, "a clean end, but of half an answer"
        return content


async def refused(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_it_answers_as_a_server_does(cluster: Cluster) -> None:
    async with (
        held_upstream(cluster.upstream_port),
        grpc.aio.insecure_channel(cluster.address) as channel,
    ):
        client = Client(cluster, channel)
        chat, metadata = client.chat, cluster.metadata
        assert await client.create(QUICK) == ANSWER
        assert await client.stream(QUICK) == ANSWER
        listed = await client.models.ListModels(ListModelsRequest(), metadata=metadata)
        assert [model.id for model in listed.models] == ["scripted"]
        stored = await chat.CreateChatCompletion(ask(QUICK, store=True), metadata=metadata)
        wanted = GetChatCompletionRequest(id=stored.id)
        assert await chat.GetChatCompletion(wanted, metadata=metadata) == stored

        error = await refused(chat.CreateChatCompletion(ask(QUICK)))
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED
        error = await refused(chat.CreateChatCompletion(ask(temperature=7), metadata=metadata))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert ("x-request-id", "req_mine") in tuple(error.trailing_metadata())
        assert b"INVALID_VALUE" in rpc_status.from_call(error).SerializeToString()
        stream = chat.StreamChatCompletion(ask(temperature=7), metadata=metadata)
        error = await refused(stream.read())
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "'temperature'" in (error.details() or "")


async def test_an_abandoned_call_ends_its_generation(cluster: Cluster) -> None:
    async with (
        held_upstream(cluster.upstream_port) as upstream,
        grpc.aio.insecure_channel(cluster.address) as channel,
    ):
        chat = Client(cluster, channel).chat
        cancelled = chat.StreamChatCompletion(ask(SILENT), metadata=cluster.metadata)
        await upstream.asked(SILENT, 1)
        cancelled.cancel()
        await upstream.left(1)
        late = chat.CreateChatCompletion(ask(SILENT), metadata=cluster.metadata, timeout=1)
        assert (await refused(late)).code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await upstream.left(2)


async def test_a_replica_that_is_killed_takes_only_its_own_calls_along(cluster: Cluster) -> None:
    """And another one takes its place."""
    async with (
        held_upstream(cluster.upstream_port) as upstream,
        grpc.aio.insecure_channel(cluster.address) as channel,
    ):
        client = Client(cluster, channel)
        before = cluster.replicas()
        assert len(before) == REPLICAS
        heard = asyncio.Semaphore(0)
        calls = [
            asyncio.ensure_future(call)
            for call in (
                *(client.stream(TALKING, heard.release) for _ in range(CALLS)),
                *(client.create(SILENT) for _ in range(CALLS)),
            )
        ]
        await upstream.asked(SILENT, CALLS)
        for _ in range(CALLS):
            await heard.acquire()

        os.kill(min(before), signal.SIGKILL)
        await upstream.left(1)
        upstream.release()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        lost = [each for each in ended if not isinstance(each, str)]
        assert 0 < len(lost) < len(ended)
        for error in lost:
            assert isinstance(error, grpc.aio.AioRpcError)
            assert error.code() == grpc.StatusCode.INTERNAL  # Ray's word for it
        assert {each for each in ended if isinstance(each, str)} == {ANSWER}

        while not cluster.replicas() - before:
            assert await client.create(QUICK) == ANSWER
        assert await client.stream(QUICK) == ANSWER
