"""The other end of a chat, whatever carries it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

BROKEN = "the connection broke before the answer was complete"


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of the conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Piece:
    """What is new of an answer; `finish` on the last piece, in OpenAI's words."""

    text: str = ""
    thought: str = ""
    finish: str = ""


class Server(Protocol):
    """Answers. What goes wrong is a Failure whose text is one line."""

    @property
    def place(self) -> str:
        """Where it is, for people."""

    async def models(self) -> list[str]:
        """The names that it goes by."""

    def answer(self, model: str, turns: Sequence[Turn]) -> AsyncGenerator[Piece, None]:
        """The answer as it grows. Closing the generator cancels the call."""

    async def close(self) -> None:
        """Lets the connection go."""


def one_line(text: str) -> str:
    """What a server said, fit for a line of the terminal."""
    shown = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(shown.split())[:500]
