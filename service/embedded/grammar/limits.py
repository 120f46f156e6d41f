"""How far an answer may go where its schema sets no end.

A grammar keeps an answer well-formed, not short: a small model that is free to go on in a
string does, for ever, and is cut in the middle. Models of the catalogue that need it have
limits; others have none.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """For what the schema leaves open; None means without end. What it asks for is not cut."""

    string: int | None = None
    """Characters of a string."""
    items: int | None = None
    """Items of an array, and members of an object, where the schema names none."""
    calls: int | None = None
    """Tool calls of an answer."""
    rounds: int | None = None
    """How often a schema may go on within itself."""
    depth: int = 8
    """Levels of JSON where the schema says nothing about it."""

    def most_items(self, least: int, most: int | None) -> int | None:
        return most if most is not None else None if self.items is None else max(self.items, least)

    def most_characters(self, least: int, most: int | None) -> int | None:
        if self.string is None:
            return most
        # A minimum that is larger than the limit is what the schema asks for.
        limit = max(self.string, least)
        return limit if most is None else min(limit, most)
