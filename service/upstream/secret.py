"""Keeps an upstream that quotes our key from telling it to our callers."""

from __future__ import annotations

from ..errors import ChatError

_SHORTEST = 8
# A shorter one could be any word.


def without(key: str | None, error: ChatError) -> ChatError:
    """The error, with the key gone from whatever the upstream said."""
    if key is None or len(key) < _SHORTEST:
        return error

    def hidden(text: str) -> str:
        return text.replace(key, "[redacted]")

    error.message = hidden(error.message)
    error.args = (error.message,)
    error.field = error.field and hidden(error.field)
    error.details = {name: hidden(value) for name, value in error.details.items()}
    return error
