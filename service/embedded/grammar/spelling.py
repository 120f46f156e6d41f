"""Grammars as llama.cpp reads them: GBNF."""

from __future__ import annotations

from .fault import CannotCompile
from .gbnf import (
    Chars,
    Choice,
    Grammar,
    Node,
    Repeat,
    Rule,
    Sequence,
    Text,
    can_end,
    choice,
    repeat,
    sequence,
)

# llama.cpp unrolls a repetition, and refuses more than 2000 at one place.
_UNROLLED = 1000
# And in all: what it reads in well under a second, and a few megabytes.
_MOST_UNROLLED = 200_000
_LONGEST = 256 * 1024
# More than an answer ever has of anything: characters, items.
_ENDLESS = 10_000_000


def spelt(grammar: Grammar, root: Node) -> str:
    """The grammar as GBNF: what can be reached from its root, and can be finished.

    Raises CannotCompile for what is too large.
    """
    return _Spelling(grammar).text(root)


class _Spelling:
    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._ending = grammar.ending()
        self._reached: list[Rule] = []
        self._known: set[Rule] = set()
        self._length = 0
        self._unrolled = 0

    def text(self, root: Node) -> str:
        lines = [self._line("root", root)]
        # Which are more and more, while they are spelt.
        lines.extend(self._line(rule.name, self._grammar[rule]) for rule in self._reached)
        return "\n".join(lines)

    def _line(self, name: str, node: Node) -> str:
        line = f"{name} ::= {self._spell(node)}"
        self._length += len(line) + 1
        if self._length > _LONGEST or self._unrolled > _MOST_UNROLLED:
            raise CannotCompile("", "it is too large")
        return line

    def _spell(self, node: Node) -> str:
        match node:
            case Text(text):
                return _quoted(text)
            case Chars(ranges):
                return "[" + "".join(_range(low, high) for low, high in ranges) + "]"
            case Rule(name):
                if node not in self._known:
                    self._known.add(node)
                    self._reached.append(node)
                return name
            case Sequence(parts):
                return " ".join(self._grouped(part) for part in parts)
            case Choice(options):
                kept = [option for option in options if can_end(option, self._ending)]
                return " | ".join(self._grouped(option) for option in kept)
            case Repeat(inner, least, most):
                if not can_end(inner, self._ending):
                    return _quoted("")
                return self._repeated(inner, least, most)

    def _grouped(self, node: Node) -> str:
        spelling = self._spell(node)
        return f"({spelling})" if isinstance(node, Sequence | Choice) else spelling

    def _repeated(self, node: Node, least: int, most: int | None) -> str:
        if least > _ENDLESS:
            raise CannotCompile("", "it is too large")
        if most is not None and most > _ENDLESS:
            most = None
        if (most or least) > _UNROLLED or least > _UNROLLED:
            return self._long(node, least, most)
        if (least, most) == (1, 1):
            return self._grouped(node)
        signs = {(0, None): "*", (1, None): "+", (0, 1): "?"}
        sign = signs.get((least, most))
        if sign is None:
            sign = f"{{{least},{'' if most is None else most}}}"
            self._unrolled += most or least
            if not isinstance(node, Text | Chars):
                # It multiplies repetitions that it finds within one another, but not in rules.
                node = self._shared(node)
        inner = self._grouped(node)
        return (f"({inner})" if isinstance(node, Repeat) else inner) + sign

    def _long(self, node: Node, least: int, most: int | None) -> str:
        """A thousand at a time."""
        node = self._shared(node)
        block = self._shared(Repeat(node, _UNROLLED, _UNROLLED))
        blocks, rest = divmod(least, _UNROLLED)
        parts = [repeat(block, blocks, blocks), repeat(node, rest, rest)]
        if most is None:
            parts.append(Repeat(node))
        else:
            blocks, rest = divmod(most - least, _UNROLLED)
            full = sequence(repeat(block, blocks, blocks), repeat(node, 0, rest))
            if blocks:
                less = sequence(repeat(block, 0, blocks - 1), repeat(node, 0, _UNROLLED - 1))
                full = choice([less, full])
            parts.append(full)
        return self._spell(sequence(*parts))

    def _shared(self, node: Node) -> Node:
        """A rule for what is known to end."""
        rule = self._grammar.share(node)
        if isinstance(rule, Rule):
            self._ending.add(rule.name)
        return rule


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _quoted(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(char) or _visible(char) for char in text) + '"'


def _visible(char: str) -> str:
    return char if char >= " " and char != "\x7f" else f"\\x{ord(char):02X}"


def _range(low: int, high: int) -> str:
    return _point(low) if low == high else f"{_point(low)}-{_point(high)}"


def _point(code: int) -> str:
    if code < 0x80 and chr(code).isalnum():
        return chr(code)
    if code <= 0xFF:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"
