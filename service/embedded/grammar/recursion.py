"""Grammars that refer to themselves, unrolled a few times.

For models that do not find out of a recursion by themselves: the last time round, what would
go round again cannot be chosen any more.
"""

from __future__ import annotations

from .gbnf import EMPTY, NOTHING, Choice, Grammar, Node, Repeat, Rule, Sequence, choice, sequence

_MOST_RULES = 250
"""Of a grammar that is unrolled. Larger ones stay as they are: this works by recursion."""


def bounded(grammar: Grammar, root: Node, rounds: int) -> Node:
    """The form without texts that go round more often. What has to, stays as it is."""
    if len(grammar) > _MOST_RULES:
        return root
    unrolled = _Unrolled(grammar, root).copy(root, rounds)
    return root if unrolled == NOTHING else unrolled


class _Unrolled:
    def __init__(self, grammar: Grammar, root: Node) -> None:
        self._grammar = grammar
        self._heads: set[str] = set()
        """Rules at which a round begins."""
        self._copies: dict[tuple[str, int], Node] = {}
        self._find_heads(root)

    def _find_heads(self, root: Node) -> None:
        """Depth first: who comes back to a rule that is still open, goes round."""
        opened: set[str] = set()
        closed: set[str] = set()
        # Not by recursion: chains of rules are as long as objects have members.
        work: list[tuple[str, bool]] = [(name, False) for name in _references(root)]
        while work:
            name, leaves = work.pop()
            if leaves:
                opened.discard(name)
                closed.add(name)
            elif name in opened:
                self._heads.add(name)
            elif name not in closed:
                opened.add(name)
                work.append((name, True))
                work += [(other, False) for other in _references(self._grammar[Rule(name)])]

    def copy(self, node: Node, rounds: int) -> Node:
        match node:
            case Rule(name):
                return self._rule(name, rounds - 1 if name in self._heads else rounds)
            case Sequence(parts):
                copies = [self.copy(part, rounds) for part in parts]
                return NOTHING if NOTHING in copies else sequence(*copies)
            case Choice(options):
                return choice(self.copy(option, rounds) for option in options)
            case Repeat(inner, least, most):
                copy = self.copy(inner, rounds)
                if copy == NOTHING:
                    return NOTHING if least else EMPTY
                return Repeat(copy, least, most)
        return node

    def _rule(self, name: str, rounds: int) -> Node:
        if not self._heads:
            return Rule(name)
        if rounds < 0:
            return NOTHING
        if (name, rounds) not in self._copies:
            # Never asked for again before it is there: each round has fewer left.
            self._copies[name, rounds] = self.copy(self._grammar[Rule(name)], rounds)
        return self._grammar.share(self._copies[name, rounds])


def _references(node: Node) -> list[str]:
    match node:
        case Rule(name):
            return [name]
        case Sequence(parts) | Choice(parts):
            return [name for part in parts for name in _references(part)]
        case Repeat(inner, _, _):
            return _references(inner)
    return []
