"""Two real servers of llama.cpp under load, one of which is killed: nothing is lost but what had
begun, and that is told."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

from serving import ask

from diglot.burst import Burst
from diglot.service.call import Call
from diglot.service.chat import ChatService
from diglot.service.config import EmbeddedModel
from diglot.service.embedded.engine import EmbeddedEngine
from diglot.service.embedded.process import OwnProcess
from diglot.service.errors import ChatError, EngineLost
from diglot.service.model_store import ModelStore
from diglot.service.models import Models, ServedModel
from diglot.service.routing import Deployment, Group, RoutedEngine
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.model_pb2 import Model

CALLERS = 6


class Llama(EmbeddedEngine):
    """With a count of the answers that it has begun, and is not done with."""

    answering = 0
    news: asyncio.Event
    """Set whenever something has changed."""

    async def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        begun = False
        try:
            async with aclosing(super().stream(request, call)) as bursts:
                async for burst in bursts:
                    self.answering += not begun
                    begun = True
                    self.news.set()
                    yield burst
        finally:
            self.answering -= begun


class Load:
    """Callers that ask without a pause."""

    def __init__(self, chat: ChatService) -> None:
        self.whole = 0
        self.broken: list[ChatError] = []
        self.lost: list[ChatError] = []
        """Requests that failed though nothing of an answer had come."""
        self._chat = chat
        self._enough = False
        self._callers = [asyncio.ensure_future(self._ask(number)) for number in range(CALLERS)]

    async def stop(self) -> None:
        self._enough = True
        await asyncio.gather(*self._callers)

    async def _ask(self, caller: int) -> None:
        number = 0
        while not self._enough:
            number += 1
            request = ask(f"Count from {caller} to {number}.", model="m", max_tokens=12)
            seen = 0
            try:
                async for _ in self._chat.stream(request, Call(f"{caller}-{number}", "tester")):
                    seen += 1
                self.whole += 1
            except ChatError as error:
                (self.broken if seen else self.lost).append(error)


async def test_one_of_two_is_killed(model_path: Path, tmp_path: Path) -> None:
    settings = EmbeddedModel(
        kind="embedded",
        name="m",
        source=str(model_path),
        context_tokens=512,
        parallel=1,  # so that some wait for their first token while one is answered
        threads=1,
    )
    engines = [Llama(settings, OwnProcess(settings, ModelStore(tmp_path))) for _ in range(2)]
    news = asyncio.Event()
    for engine in engines:
        engine.news = news
        engine.readiness.subscribe(news.set)

    async def until(true: Callable[[], object]) -> None:
        while not true():
            news.clear()
            await news.wait()

    deployments = [Deployment(f"d{number}", each) for number, each in enumerate(engines)]
    routed = RoutedEngine(Group("m", deployments))
    models = Models([ServedModel(Model(id="m"), routed)])
    try:
        await models.start()
        for engine in engines:
            await engine.readiness.wait()
        load = Load(ChatService(models))
        victim, other = engines
        # At least one of the victim's calls waits for its first token.
        await until(lambda: victim.answering and deployments[0].in_flight > 2 and other.answering)
        assert victim.child_pid is not None
        os.kill(victim.child_pid, signal.SIGKILL)
        await until(lambda: not victim.readiness.ready)
        assert routed.readiness.ready
        await until(lambda: victim.readiness.ready and victim.answering)
        await load.stop()
    finally:
        await models.close()
    assert not load.lost
    assert load.broken
    assert {type(error) for error in load.broken} == {EngineLost}
    assert len(load.broken) <= 1 + 1, "at most what one server answers at a time"
    assert load.whole >= CALLERS
