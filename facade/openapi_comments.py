"""What the contract's comments say: the API's reference is not written twice.

Descriptors carry no comments, so they are read from the .proto files, which lie beside the
stubs. The contract is linted: every message, field and value has a comment right above it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

_COMMENT = re.compile(r"\s*// ?(.*)")
_BLOCK = re.compile(r"\s*(message|enum|oneof|service) (\w+) \{(\})?")
_MEMBER = re.compile(r"\s*(?:(?:optional |repeated )?[\w.]+(?:<[^>]*>)? )?(\w+) = \d+")


@cache
def comments() -> Mapping[str, str]:
    """By name: "Message", "Message.content", "ERROR_REASON_INTERNAL"."""
    found: dict[str, str] = {}
    for file in files("diglot.v1").iterdir():
        if file.name.endswith(".proto"):
            found.update(_read(file.read_text("utf-8")))
    return found


def _read(text: str) -> Iterator[tuple[str, str]]:
    comment: list[str] = []
    blocks: list[tuple[str, str]] = []
    for line in text.splitlines():
        if said := _COMMENT.fullmatch(line):
            comment.append(said[1])
            continue
        prose = " ".join(" ".join(comment).split())
        comment = []
        if block := _BLOCK.fullmatch(line):
            yield block[2], prose
            if not block[3]:
                blocks.append((block[1], block[2]))
        elif line.strip() == "}" and blocks:
            blocks.pop()
        elif blocks and (member := _MEMBER.match(line)):
            yield _name(blocks, member[1]), prose


def _name(blocks: list[tuple[str, str]], member: str) -> str:
    """Members of a oneof are the message's; values of an enum have names of their own."""
    kind, owner = blocks[0]
    return f"{owner}.{member}" if kind == "message" else member
