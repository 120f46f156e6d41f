"""Which of the stored completions to list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Query:
    """Those that meet all of it, by the time of their creation."""

    limit: int
    after: str | None = None
    """The id after which to begin, in the order of the list."""
    descending: bool = False
    model: str | None = None
    """What was asked for, or what answered."""
    metadata: Mapping[str, str] = field(default_factory=dict)
