"""Engines that do exactly what a test tells them, and a loop whose time costs none."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Set
from contextlib import aclosing
from typing import Any

from diglot.burst import Burst, chunks_of
from diglot.service.call import Call
from diglot.service.capability import EVERYTHING, Capability
from diglot.service.readiness import Readiness
from diglot.v1 import completion_pb2 as c
from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk
from diglot.v1.message_pb2 import ROLE_ASSISTANT

CALL = Call(request_id="req_test", caller="tester")

Step = str | Exception | Callable[[], Awaitable[object]]


class FakeEngine:
    """Goes through its steps for each request: says a word, fails, or awaits something.

    `then` are the steps of the requests to come, one list each; what is left over is said by
    `steps`.
    """

    def __init__(
        self, *steps: Step, ready: bool = True, capabilities: Set[Capability] = EVERYTHING
    ) -> None:
        self.readiness = Readiness()
        self.capabilities = capabilities
        self.steps: tuple[Step, ...] = steps or ("hello",)
        self.then: list[tuple[Step, ...]] = []
        self.asked = 0
        self.active = 0
        self.closed = False
        if ready:
            self.readiness.up()

    async def start(self) -> None:
        self.readiness.up()

    async def close(self) -> None:
        self.readiness.down("closed")
        self.closed = True

    async def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        self.asked += 1
        self.active += 1
        try:
            for step in self.then.pop(0) if self.then else self.steps:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, str):
                    chunk = ChatCompletionChunk()
                    delta = chunk.choices.add().delta
                    delta.role = ROLE_ASSISTANT
                    delta.content = step
                    yield [chunk]
                else:
                    await step()
            end = ChatCompletionChunk()
            end.choices.add(finish_reason=c.FINISH_REASON_STOP).delta.SetInParent()
            yield [end]
        finally:
            self.active -= 1


class BurstEngine(FakeEngine):
    """Says these bursts, and nothing else."""

    def __init__(self, *bursts: Burst) -> None:
        super().__init__()
        self.bursts = bursts

    async def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        for burst in self.bursts:
            yield burst


async def one_by_one(
    bursts: AsyncGenerator[Burst, None],
) -> AsyncGenerator[ChatCompletionChunk, None]:
    """The chunks of a stream, which closes with this generator."""
    async with aclosing(bursts):
        async for burst in bursts:
            for chunk in chunks_of(burst):
                yield chunk


def each(said: ChatCompletionChunk | Burst) -> Iterator[ChatCompletionChunk]:
    """The chunks of what a stream yields: a stub's chunk, or a channel's burst."""
    return iter((said,)) if isinstance(said, ChatCompletionChunk) else chunks_of(said)


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


def pause(seconds: float) -> Callable[[], Awaitable[object]]:
    return lambda: asyncio.sleep(seconds)


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class _Jump(selectors.SelectSelector):
    """Instead of waiting for time to pass, lets it have passed."""

    jumped = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("nothing will ever happen any more")
        self.jumped += max(timeout, 0)
        return super().select(0)


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return 1000.0 + self._jump.jumped


def run_in_no_time(main: Coroutine[Any, Any, None]) -> None:
    """Runs it on a loop where every sleep takes its time exactly, and none of ours."""
    with asyncio.Runner(loop_factory=_JumpingLoop) as runner:
        runner.run(main)
