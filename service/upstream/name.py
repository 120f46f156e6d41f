"""What an upstream calls a model."""

from __future__ import annotations


class UpstreamName:
    """One name, or with a * as many as there are behind the pattern that requests name.

    The * in `name` becomes what the * at the end of `pattern` is in the request: "openai/*" and
    "*" make "gpt-5" of "openai/gpt-5". An alias is taken whole.
    """

    def __init__(self, name: str, pattern: str = "") -> None:
        self._name = name
        self._prefix = pattern.removesuffix("*")
        self._varies = "*" in name

    def of(self, asked: str) -> str:
        if not self._varies:
            return self._name
        return self._name.replace("*", asked.removeprefix(self._prefix), 1)
