"""Things with commas between them: the items of arrays and the members of objects."""

from __future__ import annotations

from collections.abc import Sequence as Seq

from .gbnf import EMPTY, NOTHING, Grammar, Node, Text, choice, optional, repeat, sequence

_COMMA = Text(", ")


def listed(item: Node, least: int, most: int | None) -> Node:
    """The same again and again."""
    if most == 0:
        return EMPTY
    more = sequence(_COMMA, item)
    full = sequence(item, repeat(more, max(least - 1, 0), None if most is None else most - 1))
    return full if least > 0 else optional(full)


def after(grammar: Grammar, first: Seq[Node], rest: Node, least: int, most: int | None) -> Node:
    """Some items of their own forms, no more than `most`, then others: `least` to `most` in all."""
    if not first:
        return listed(rest, least, most)
    over = None if most is None else most - len(first)
    items = repeat(sequence(_COMMA, rest), max(least - len(first), 0), over)
    # From the last to the first, as each is there only if those before it are.
    for place in reversed(range(len(first))):
        piece = first[place] if place == 0 else sequence(_COMMA, first[place])
        items = grammar.share(sequence(piece, items))
        if place >= least:
            items = optional(items)
    return items


def members(
    grammar: Grammar, pieces: Seq[tuple[Node, bool]], least: int = 0, most: int | None = None
) -> Node:
    """Each piece at most once, in this order; those marked true always; `least` to `most` in all.

    Where there are too few for that, or more that must be, NOTHING.
    """
    most = len(pieces) if most is None else min(most, len(pieces))
    # How many stand before a place decides about the comma, and about what may follow. Where
    # no more of them would change that, they are not told apart.
    counts = range(max(least, most if most < len(pieces) else 1, 1) + 1)
    following: list[Node] = [EMPTY if count >= least else NOTHING for count in counts]
    for piece, needed in reversed(pieces):
        shared = grammar.share(piece)
        here = []
        for count in counts:
            options = [] if needed else [following[count]]
            if count < most:
                then = following[min(count + 1, counts[-1])]
                if then != NOTHING:
                    options.append(sequence(*([_COMMA] if count else []), shared, then))
            here.append(grammar.share(choice(options)))
        following = here
    return following[0]


def braced(inside: Node) -> Node:
    return sequence(Text("{"), inside, Text("}"))


def bracketed(inside: Node) -> Node:
    return sequence(Text("["), inside, Text("]"))
