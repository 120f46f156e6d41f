"""The one seam: whatever can answer a chat is an Engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Set
from typing import Protocol

from diglot.burst import Burst
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from .call import Call
from .capability import Capability
from .readiness import Readiness


class Engine(Protocol):
    """Generates completions.

    It yields bursts: what is there at once, at once, and in one piece.

    What the core relies on, and every engine's tests check:

    - each choice begins with a chunk that has its role, in order of index, and ends with one
      that has its finish reason; a stream that cannot be completed raises a ChatError;
    - usage comes last, in a chunk without choices, whether the caller asked for it or not;
    - of a call for the whole, whose chunks are only added up, they may be fewer, and say several
      of these things at once;
    - id and created are the core's to fill in, and model too if it is empty;
    - closing the generator frees what it holds at once: also while it is queued or reads the
      prompt;
    - a request that cannot be served raises before the first chunk.
    """

    @property
    def readiness(self) -> Readiness:
        """Whether it can answer now."""

    @property
    def capabilities(self) -> Set[Capability]:
        """What it can do: known from the configuration, before it is ready."""

    async def start(self) -> None:
        """Begins to get ready, and does not wait for it."""

    async def close(self) -> None:
        """Ends calls in flight and frees everything. Safe at any time, also before `start`."""

    def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        """Generates the answer to a request that `validation.check` has passed."""
