"""What the table of a model may have, wherever the model runs."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from .checks import Seconds
from .section import Name, Section


def as_tuple(value: object) -> object:
    """TOML has arrays, and settings do not change."""
    return tuple(value) if isinstance(value, list) else value


class Offered(Section):
    """What callers notice of a model, besides its name."""

    aliases: Annotated[tuple[Name, ...], BeforeValidator(as_tuple)] = ()
    """Other names that requests may call it."""
    fallback: Name | None = None
    """The model that answers while this one cannot; absent: none."""
    max_running: int | None = Field(default=None, ge=1, le=1_000_000)
    """How many answers it gives at a time. Absent: what it can do at once, if Diglot runs it, else
    1000."""
    max_queued: int | None = Field(default=None, ge=0, le=1_000_000)
    """How many requests may wait for that. Absent: 16 for each answer at a time, at most 1000."""
    max_queue_seconds: Seconds = 30
    """How long each may wait. What finds no place, or waits for too long, is refused."""
    timeout_seconds: Seconds | None = None
    """The longest that a call may take, waiting included. Absent: as long as its caller waits."""


class Placed(Section):
    """How one place where a model runs is used."""

    weight: float = Field(default=1, gt=0, le=1000)
    """How much this deployment takes, compared with the others of its model."""
    first_token_timeout_seconds: Seconds | None = None
    """How long an answer may take to begin. Absent: as long as the call has."""
    between_tokens_timeout_seconds: Seconds | None = None
    """How long an answer may pause. Absent: as long as the call has."""
    total_timeout_seconds: Seconds | None = None
    """How long an answer may take. Absent: as long as the call has."""


class ModelTable(Offered, Placed):
    """A model that runs in one place, or one of the places of a model that runs in several."""
