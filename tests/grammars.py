"""What a grammar can generate, and whether it can generate a text: without llama.cpp."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from diglot.service.embedded.grammar.gbnf import (
    Chars,
    Choice,
    Grammar,
    Node,
    Repeat,
    Rule,
    Sequence,
    Text,
    can_end,
)
from diglot.service.embedded.grammar.limits import Limits
from diglot.service.embedded.grammar.schema import SchemaCompiler
from diglot.service.json_schema import parsed

SMALL = Limits(string=20, items=4, depth=3)


class Language:
    """The texts of a form."""

    def __init__(self, root: Node, grammar: Grammar | None = None) -> None:
        self._grammar = grammar or Grammar()
        self._root = root
        self._ending = self._grammar.ending()
        self._heights = self._measured()

    @classmethod
    def of(cls, schema: Any, *, exact: bool = True, limits: Limits = SMALL) -> Language:
        grammar = Grammar()
        compiler = SchemaCompiler(grammar, limits, exact=exact)
        return cls(compiler.compile(parsed(json.dumps(schema))), grammar)

    def some(self, count: int, seed: int = 1) -> list[str]:
        """Texts that can be generated."""
        random = Random(seed)
        return [self._text(self._root, random, 0) for _ in range(count)]

    def __contains__(self, text: str) -> bool:
        return len(text) in self._ends(self._root, text, 0, {})

    def _measured(self) -> dict[str, int]:
        """How many rules deep each rule must go at least: the way out of recursion."""
        heights: dict[str, int] = {}
        while True:
            found = {
                name: 1 + self._height(self._grammar[Rule(name)], heights)
                for name in self._ending
                if can_end(self._grammar[Rule(name)], set(heights))
            }
            if found == heights:
                return heights
            heights = found

    def _height(self, node: Node, heights: dict[str, int]) -> int:
        match node:
            case Sequence(parts):
                return max((self._height(part, heights) for part in parts), default=0)
            case Choice(options):
                ending = [option for option in options if can_end(option, set(heights))]
                return min(self._height(option, heights) for option in ending)
            case Repeat(inner, least, _):
                return self._height(inner, heights) if least else 0
            case Rule(name):
                return heights[name]
        return 0

    def _text(self, node: Node, random: Random, depth: int) -> str:
        match node:
            case Text(text):
                return text
            case Chars(ranges):
                low, high = random.choice(ranges)
                return chr(random.randint(low, min(high, low + 300)))
            case Sequence(parts):
                return "".join(self._text(part, random, depth) for part in parts)
            case Choice(options):
                ending = [option for option in options if can_end(option, self._ending)]
                random.shuffle(ending)
                if depth > 20:
                    ending.sort(key=lambda option: self._height(option, self._heights))
                return self._text(ending[0], random, depth + 1)
            case Repeat(inner, least, most):
                times = self._times(least, most, random, depth)
                if not can_end(inner, self._ending):
                    return ""
                return "".join(self._text(inner, random, depth + 1) for _ in range(times))
            case Rule():
                return self._text(self._grammar[node], random, depth + 1)

    def _times(self, least: int, most: int | None, random: Random, depth: int) -> int:
        if depth > 20:
            return least
        if most is not None and most < 400 and depth < 4 and random.random() < 0.1:
            return most
        return random.randint(least, least + 3 if most is None else min(most, least + 3))

    def _ends(
        self, node: Node, text: str, at: int, known: dict[tuple[int, int], frozenset[int]]
    ) -> frozenset[int]:
        """Where a text of the form can end that begins at the place."""
        key = id(node), at
        if key not in known:
            known[key] = frozenset()  # as no rule begins with itself
            known[key] = frozenset(self._found(node, text, at, known))
        return known[key]

    def _found(
        self, node: Node, text: str, at: int, known: dict[tuple[int, int], frozenset[int]]
    ) -> set[int]:
        match node:
            case Text(part):
                return {at + len(part)} if text.startswith(part, at) else set()
            case Chars(ranges):
                code = ord(text[at]) if at < len(text) else -1
                return {at + 1} if any(low <= code <= high for low, high in ranges) else set()
            case Sequence(parts):
                places = {at}
                for piece in parts:
                    ends = (self._ends(piece, text, start, known) for start in places)
                    places = {end for found in ends for end in found}
                return places
            case Choice(options):
                return {end for option in options for end in self._ends(option, text, at, known)}
            case Rule():
                return set(self._ends(self._grammar[node], text, at, known))
            case Repeat(inner, least, most):
                return self._repeated(inner, least, most, text, at, known)

    def _repeated(
        self,
        node: Node,
        least: int,
        most: int | None,
        text: str,
        at: int,
        known: dict[tuple[int, int], frozenset[int]],
    ) -> set[int]:
        places, found = {at}, {at} if least == 0 else set()
        times = 0
        while places and (most is None or times < most):
            places = {end for start in places for end in self._ends(node, text, start, known)}
            times += 1
            if times >= least:
                if places <= found:
                    break
                found |= places
        return found
