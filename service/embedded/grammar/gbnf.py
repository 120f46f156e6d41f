"""Grammars, as llama.cpp knows them.

Built as a small tree rather than as text, so that what is generated can be asked: can it end
at all, and how large is it. How it is written: spelling.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from .fault import CannotCompile

_MOST_RULES = 20_000


@dataclass(frozen=True, slots=True)
class Text:
    """Exactly this text."""

    text: str


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of these ranges of code points, both ends included."""

    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Sequence:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """`most` of None means without end."""

    node: Node
    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A reference to a rule of the grammar."""

    name: str


Node: TypeAlias = "Text | Chars | Sequence | Choice | Repeat | Rule"

EMPTY = Text("")
NOTHING = Choice(())
"""What no text has the form of."""


def sequence(*parts: Node) -> Node:
    kept = tuple(part for part in parts if part != EMPTY)
    return kept[0] if len(kept) == 1 else Sequence(kept) if kept else EMPTY


def choice(options: Iterable[Node]) -> Node:
    distinct = tuple(dict.fromkeys(option for option in options if option != NOTHING))
    return distinct[0] if len(distinct) == 1 else Choice(distinct)


def repeat(node: Node, least: int, most: int | None) -> Node:
    """What can be empty is repeated by what of it is not: there is one way less to read a text
    with each time that it may or may not be there, and readers lose themselves in those."""
    if can_be_empty(node):
        node, least = not_empty(node), 0
    return EMPTY if most == 0 or node == NOTHING else Repeat(node, least, most)


def can_be_empty(node: Node) -> bool:
    """Whether the empty text is of this form. Not asked of rules."""
    match node:
        case Text(text):
            return not text
        case Sequence(parts):
            return all(map(can_be_empty, parts))
        case Choice(options):
            return any(map(can_be_empty, options))
        case Repeat(inner, least, _):
            return least == 0 or can_be_empty(inner)
    return False


def not_empty(node: Node) -> Node:
    """All texts of the form but the empty one."""
    match node:
        case Text(""):
            return NOTHING
        case Choice(options):
            return choice(map(not_empty, options))
        case Repeat(inner, 0, most):
            return Repeat(inner, 1, most)
        case Sequence(parts) if can_be_empty(node):
            # By the first part that is there.
            return choice(
                sequence(not_empty(part), *parts[place + 1 :]) for place, part in enumerate(parts)
            )
    return node


def optional(node: Node) -> Node:
    return repeat(node, 0, 1)


class Grammar:
    """Rules by name."""

    def __init__(self) -> None:
        self._rules: dict[str, Node] = {}
        self._names: dict[Node, Rule] = {}

    def reserve(self) -> Rule:
        """A rule to be defined later: how a rule refers to itself. Raises CannotCompile."""
        if len(self._rules) == _MOST_RULES:
            raise CannotCompile("", "it is too large")
        rule = Rule(f"r{len(self._rules)}")
        self._rules[rule.name] = NOTHING
        return rule

    def define(self, rule: Rule, node: Node) -> None:
        self._rules[rule.name] = node

    def share(self, node: Node) -> Node:
        """The node as a rule: written once, however often it is used."""
        short = isinstance(node, Text) and len(node.text) < 8
        if short or isinstance(node, Rule) or node == NOTHING:
            return node
        rule = self._names.get(node)
        if rule is None:
            rule = self._names[node] = self.reserve()
            self._rules[rule.name] = node
        return rule

    def __len__(self) -> int:
        return len(self._rules)

    def __getitem__(self, rule: Rule) -> Node:
        return self._rules[rule.name]

    def ending(self) -> set[str]:
        """The rules of which there is any finite text."""
        ending: set[str] = set()
        open_ones = list(self._rules)
        while True:
            before = len(ending)
            for name in open_ones:
                if can_end(self._rules[name], ending):
                    ending.add(name)
            if len(ending) == before:
                return ending
            # A rule mostly uses rules on one side of it: there and back is the fewest turns.
            open_ones = [name for name in reversed(open_ones) if name not in ending]

    def can_end(self, node: Node) -> bool:
        """Whether there is any finite text of this form."""
        return can_end(node, self.ending())


def can_end(node: Node, ending: set[str]) -> bool:
    """Whether there is, given the rules of which there is one."""
    match node:
        case Sequence(parts):
            return all(can_end(part, ending) for part in parts)
        case Choice(options):
            return any(can_end(option, ending) for option in options)
        case Repeat(inner, least, _):
            return least == 0 or can_end(inner, ending)
        case Rule(name):
            return name in ending
    return True
