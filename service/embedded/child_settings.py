"""What a model's process is to serve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .liveness import STALLED_AFTER


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """What to serve, and with what means."""

    model: Path
    context_tokens: int
    """Room for prompt and answer of each answer under way."""
    parallel: int
    threads: int
    projector: Path | None = None
    """Lets the model see images."""
    start_timeout: float = 600.0
    """Seconds from start to first token, after which a start counts as hanging."""
    hang_seconds: float = 30.0
    """Without a sign of life from one that was ready, after which it counts as hanging."""
    stall_seconds: float = STALLED_AFTER
    """Without progress of any answer under way, after which it does, too."""

    @property
    def batch_tokens(self) -> int:
        """How many tokens are read at a time: llama.cpp notices who has left between two batches.
        More are not read faster on a processor: 64 were measured to cost what 32 do, each.

        Models that look at all of an image at once (Gemma) need it whole in one, and llama.cpp
        does not say so when they have not: 256 tokens and more."""
        return 32 if self.projector is None else 512
