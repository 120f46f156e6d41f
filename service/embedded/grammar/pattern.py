"""Regular expressions, as JSON Schema means them (ECMA 262), as text inside a JSON string.

Everything regular is understood: classes, groups, alternatives, repetitions, and anchors where
they change nothing but where a match begins and ends. What needs memory or a look around
(backreferences, lookaheads, word boundaries) is refused.
"""

from __future__ import annotations

import re

from ...kept import kept
from .gbnf import NOTHING, Chars, Node, Repeat, Text, choice, repeat, sequence

Ranges = tuple[tuple[int, int], ...]

_LAST = 0x10FFFF
_DIGIT: Ranges = ((0x30, 0x39),)
_WORD: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACE: Ranges = (
    *((0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A)),
    *((0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)),
)
_LINE_ENDS: Ranges = ((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029))
_CLASSES = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CONTROLS = {"t": 0x09, "n": 0x0A, "v": 0x0B, "f": 0x0C, "r": 0x0D, "0": 0x00}
# What a JSON string cannot hold as it is, and how it then looks. Other control characters
# have no short form, and are left out: fewer strings are generated than would match.
_SHORT = ('\\"', "\\\\", "\\b", "\\f", "\\n", "\\r", "\\t")
_ESCAPED = {ord(char): text for char, text in zip('"\\\b\f\n\r\t', _SHORT, strict=True)}
_RAW: Ranges = ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0x7E), (0xA0, 0xD7FF), (0xE000, _LAST))


# Digits of a count: more times than any answer has room for.
_LONGEST_COUNT = 6
_DEEPEST = 50


class PatternError(Exception):
    """A pattern that cannot be followed while decoding; `str` says why."""


def compile_pattern(pattern: str, longest: int | None, *, whole: bool = False) -> Node:
    """The inside of a JSON string that the pattern matches: somewhere, or, with `whole`, from
    end to end. `longest` bounds each repetition that has no end of its own.

    Raises PatternError.
    """
    parser = _Parser(pattern, longest)
    found = parser.alternatives(whole=whole)
    if parser.at < len(pattern):
        raise PatternError(f"an unmatched ')' at position {parser.at}")
    return found


@kept(256, lambda ranges: len(ranges) <= 100)
def character(ranges: Ranges) -> Node:
    """One character of these, as a JSON string holds it; NOTHING if it can hold none."""
    raw = _both(ranges, _RAW)
    options: list[Node] = [Chars(raw)] if raw else []
    options += [Text(text) for code, text in _ESCAPED.items() if _holds(ranges, code)]
    return choice(options)


ANY_CHARACTER: Ranges = ((0, _LAST),)


_SIGNS = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_CODES = {
    "x": re.compile(r"([0-9A-Fa-f]{2})()"),
    "u": re.compile(r"([0-9A-Fa-f]{4})|\{([0-9A-Fa-f]{1,8})\}"),
}
_COUNTED = re.compile(r"\{([0-9]+)(,([0-9]*))?\}")


class _Parser:
    def __init__(self, pattern: str, longest: int | None) -> None:
        self._pattern = pattern
        self._longest = longest
        self._depth = 0
        self.at = 0

    def alternatives(self, *, whole: bool = False) -> Node:
        """Up to a ")" or the end."""
        options = [self._alternative(whole)]
        while self._take("|"):
            options.append(self._alternative(whole))
        return choice(options)

    def _alternative(self, whole: bool) -> Node:
        top = self._depth == 0
        anything = Repeat(character(ANY_CHARACTER), 0, self._longest)
        begins, ends = whole, whole
        parts: list[Node] = []
        while self.at < len(self._pattern) and self._peek() not in "|)":
            if self._take("^"):
                if not top or parts:
                    raise PatternError(f"'^' inside the pattern, at position {self.at - 1}")
                begins = True
            elif self._take("$"):
                if not top or self._peek() not in ("", "|"):
                    raise PatternError(f"'$' inside the pattern, at position {self.at - 1}")
                ends = True
            else:
                parts.append(self._repeated(self._atom()))
        if top and not begins:
            parts.insert(0, anything)
        if top and not ends:
            parts.append(anything)
        return sequence(*parts)

    def _repeated(self, node: Node) -> Node:
        bounds = self._repetition()
        if bounds is None:
            return node
        self._take("?")  # lazy: the same language
        at = self.at
        if self._repetition() is not None:
            raise PatternError(f"a repeated repetition at position {at}")
        least, most = bounds
        if most is None and self._longest is not None:
            most = max(self._longest, least)
        return repeat(node, least, most)

    def _repetition(self) -> tuple[int, int | None] | None:
        """The fewest and the most times, where such a thing stands here."""
        for sign, bounds in _SIGNS.items():
            if self._take(sign):
                return bounds
        found = _COUNTED.match(self._pattern, self.at)
        if found is None:  # a brace that begins anything else is plain text
            return None
        if max(len(found[1]), len(found[3] or "")) > _LONGEST_COUNT:
            raise PatternError(f"too long a repetition at position {self.at}")
        least = int(found[1])
        most = least if found[2] is None else int(found[3]) if found[3] else None
        if most is not None and most < least:
            raise PatternError(f"a repetition with its bounds exchanged at position {self.at}")
        self.at = found.end()
        return least, most

    def _atom(self) -> Node:
        start = self.at
        if self._repetition() is not None:
            raise PatternError(f"nothing to repeat at position {start}")
        char = self._next()
        match char:
            case "(":
                return self._group()
            case "[":
                ranges = self._class()
            case ".":
                ranges = _without(_LINE_ENDS)
            case "\\":
                ranges = self._escape(in_class=False)
            case _:
                ranges = ((ord(char), ord(char)),)
        node = character(ranges)
        if node == NOTHING:
            raise PatternError(f"a class without characters at position {start}")
        return node

    def _group(self) -> Node:
        start = self.at - 1
        if self._take("?") and not self._take(":"):
            if not self._take("<") or self._peek() in ("=", "!"):
                raise PatternError(f"a lookaround at position {start}")
            self.at = self._pattern.find(">", self.at) + 1 or len(self._pattern)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise PatternError(f"groups nested deeper than {_DEEPEST} at position {start}")
        inside = self.alternatives()
        self._depth -= 1
        if not self._take(")"):
            raise PatternError(f"an unmatched '(' at position {start}")
        return inside

    def _class(self) -> Ranges:
        start = self.at - 1
        negated = self._take("^")
        found: list[tuple[int, int]] = []
        if self._peek() == "]":  # which not all readers take for its end
            raise PatternError(f"a class without characters at position {start}")
        while not self._take("]"):
            if self.at >= len(self._pattern):
                raise PatternError(f"an unmatched '[' at position {start}")
            low = self._class_member()
            dash = self._peek() == "-" and self._pattern[self.at + 1 : self.at + 2] not in ("", "]")
            if dash and len(low) == 1 and low[0][0] == low[0][1]:
                self.at += 1
                high = self._class_member()
                if len(high) != 1 or high[0][0] != high[0][1] or high[0][1] < low[0][0]:
                    raise PatternError(f"a range without order before position {self.at}")
                low = ((low[0][0], high[0][1]),)
            found += low
        return _without(tuple(found)) if negated else tuple(found)

    def _class_member(self) -> Ranges:
        char = self._next()
        return self._escape(in_class=True) if char == "\\" else ((ord(char), ord(char)),)

    def _escape(self, *, in_class: bool) -> Ranges:
        char = self._next()
        if char in _CLASSES:
            return _CLASSES[char]
        if char.lower() in _CLASSES:
            return _without(_CLASSES[char.lower()])
        if char in _CONTROLS:
            code = _CONTROLS[char]
        elif char in "xu":
            code = self._code(char)
        elif char == "c":
            code = ord(self._next()) % 32
        elif char == "b" and in_class:
            code = 0x08
        elif char.isalnum():
            what = "a backreference" if char.isdecimal() else f"'\\{char}'"
            raise PatternError(f"{what} at position {self.at - 2}")
        else:
            code = ord(char)
        return ((code, code),)

    def _code(self, kind: str) -> int:
        found = _CODES[kind].match(self._pattern, self.at)
        code = int(found[1] or found[2], 16) if found else _LAST + 1
        if found is None or code > _LAST:
            raise PatternError(f"a bad escape at position {self.at - 2}")
        self.at = found.end()
        return code

    def _peek(self) -> str:
        return self._pattern[self.at : self.at + 1]

    def _take(self, char: str) -> bool:
        found = self._peek() == char
        self.at += found
        return found

    def _next(self) -> str:
        char = self._peek()
        if not char:
            raise PatternError(f"it ends too early, at position {self.at}")
        self.at += 1
        return char


def _without(ranges: Ranges) -> Ranges:
    """Every character but these."""
    rest = []
    start = 0
    for low, high in sorted(ranges):
        if low > start:
            rest.append((start, low - 1))
        start = max(start, high + 1)
    if start <= _LAST:
        rest.append((start, _LAST))
    return tuple(rest)


def _both(one: Ranges, other: Ranges) -> Ranges:
    pairs = ((max(a[0], b[0]), min(a[1], b[1])) for a in one for b in other)
    return tuple(sorted({(low, high) for low, high in pairs if low <= high}))


def _holds(ranges: Ranges, code: int) -> bool:
    return any(low <= code <= high for low, high in ranges)
