"""Why a schema has no grammar."""

from __future__ import annotations


class CannotCompile(Exception):
    """`path` is a JSON pointer into the schema; "" is its root."""

    def __init__(self, path: str, why: str) -> None:
        shown = path if len(path) <= 200 else f"{path[:200]}…"
        super().__init__(f"at '{shown or '/'}': {why}")
        self.path = path
        self.why = why


class NothingFits(CannotCompile):
    """What stands there contradicts itself: no value has this form."""
