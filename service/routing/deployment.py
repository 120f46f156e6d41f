"""One place where a model runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Set
from contextlib import aclosing
from dataclasses import dataclass, field

from diglot.burst import Burst
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from ..call import Call
from ..capability import Capability
from ..engine import Engine
from ..errors import InvalidRequest, RateLimited, Unavailable, UpstreamInvalid, name_of
from .circuit import Circuit
from .watch import Timeouts, Watch

FAILURES = (Unavailable, RateLimited, UpstreamInvalid)
"""What another deployment may do better. A refusal (4xx) is about the request, and stays."""


@dataclass(slots=True, eq=False)
class Deployment:
    """An engine, and what is known of it as one of several. Belongs to one event loop."""

    name: str
    """For the log. Its place among the others is reckoned from it, too, so that servers with the
    same configuration send a conversation to the same one."""
    engine: Engine
    weight: float = 1.0
    """How much it takes, compared with the others."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    lacks: Set[Capability] = frozenset()
    """What it cannot do, though its engine can."""
    circuit: Circuit = field(default_factory=Circuit)
    in_flight: int = 0
    """Requests under way."""
    asked: int = 0
    """Requests that were sent to it, so far."""
    failures: Counter[str] = field(default_factory=Counter)
    """Those that it did not answer well, by reason."""

    @property
    def capabilities(self) -> Set[Capability]:
        return self.engine.capabilities - self.lacks

    @property
    def ready(self) -> bool:
        return self.engine.readiness.ready

    @property
    def healthy(self) -> bool:
        return self.ready and self.circuit.closed

    async def stream(
        self, request: CreateChatCompletionRequest, call: Call, spare: Callable[[], bool]
    ) -> AsyncGenerator[Burst, None]:
        """The engine's answer, counted, timed and judged. `spare` tells whether others can take
        over. A caller who leaves says nothing about the deployment."""
        circuit = self.circuit
        probe = circuit.enter()
        watch = Watch(self.timeouts) if self.timeouts else None
        self.in_flight += 1
        self.asked += 1
        try:
            async with aclosing(self.engine.stream(request, call)) as bursts:
                answered = False
                while True:
                    try:
                        burst = await (watch.next(bursts) if watch else anext(bursts))
                    except StopAsyncIteration:
                        break
                    if not answered:
                        answered = True
                        call.meter.deployment = self.name
                        circuit.answered(probe)
                        if watch is not None:
                            watch.began()
                    yield burst
            circuit.succeeded()
        except InvalidRequest:
            circuit.answered(probe)
            circuit.succeeded()
            raise
        except FAILURES as error:
            self.failures[name_of(error).lower()] += 1
            circuit.failed(probe, error.retry_after, spare=spare())
            raise
        finally:
            self.in_flight -= 1
            circuit.leave(probe)
            if watch is not None:
                watch.disarm()
