"""What of an answer has been delivered so far, for calls that never come to its end.

**Delivered work** is what a call is accounted with:

- Of an answer that came to its end, it is the usage that its engine gives there.
- Of one that ended early, because its caller left, its deadline passed or its engine failed, it
  is what the engine had handed over until then. Engines that tell with each token what was spent
  are believed: llama.cpp (`timings_per_token`), vLLM (`continuous_usage_stats`), the scripted
  one. Where they do not, each event that says something counts as a token, as engines send them,
  and what the prompt cost is not known.
- An answer that an upstream was asked for in one piece is delivered when all of it is there: before
  that nothing is, whatever was generated.
- Before the first token nothing is delivered: a call that is cancelled while it is queued or in
  prefill costs nothing, nor does the attempt that failed before another deployment took over.

What an engine has produced and nobody has taken from it, when the call ends, is not delivered.
"""

from __future__ import annotations

from collections.abc import Callable

from diglot.v1.completion_pb2 import Usage

Delivered = Callable[[], Usage | None]
"""Tells what was delivered so far; None before the first token."""


class Meter:
    """One call's. Costs nothing per token: it asks its sources when all is over."""

    __slots__ = ("_sources", "deployment")

    def __init__(self) -> None:
        self.deployment: str | None = None
        """The one that answers, where there are several."""
        self._sources: list[Delivered] = []

    def follow(self, source: Delivered) -> None:
        """Counts what this one delivers, beside what others do."""
        self._sources.append(source)

    def usage(self) -> Usage | None:
        """All that was delivered. A prompt that several answered was asked once."""
        total: Usage | None = None
        for source in self._sources:
            usage = source()
            if usage is None:
                continue
            if total is None:
                total = Usage()
                total.CopyFrom(usage)
            else:
                total.prompt_tokens = max(total.prompt_tokens, usage.prompt_tokens)
                total.completion_tokens = _within(total.completion_tokens + usage.completion_tokens)
        if total is not None:
            total.total_tokens = _within(total.prompt_tokens + total.completion_tokens)
        return total


def _within(tokens: int) -> int:
    """What the contract has room for: upstreams may count up to there in each number alone."""
    return min(tokens, 2**31 - 1)
