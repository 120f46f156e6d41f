"""Spoils good inputs: bytes, and the JSON in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

_LARGEST = 64 * 2**10

_WORDS = (
    *(b"null", b"true", b"-0", b"1e999", b"NaN", b"-Infinity", b"99999999999999999999", b"0.1"),
    *(b'"', b"\\", b"{}", b"[]", b",", b":", b"\\u0000", b"\\ud800", b"\\udc00\\ud800", b"[" * 300),
    *(b'{"a":' * 300, b"\0", b"\xff", b"\xed\xa0\x80", b"\xf0\x9f", b"\xef\xbb\xbf", b"\x80" * 11),
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"data: ", b"data:\n", b"data: [DONE]\n\n"),
    *(b": comment\n\n", b"event: error\n", b"retry: 0\n", b"Content-Length: 5\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"fffffffffffffffff\r\n", b"Host:\r\n"),
    *(b"Expect: 100-continue\r\n", b"Content-Encoding: gzip\r\n", b"Connection: close\r\n"),
    *(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"Upgrade: websocket\r\nConnection: upgrade\r\n"),
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 127, 2**31 - 1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63),
    *(-(2**63) - 1, 2**64, 10**30, 0.5, -0.0, 1e308, 5e-324, "", " ", "a", "\0", "\ud800", "😀"),
    *("a" * 5000, "é́", "null", "[DONE]", "#", "#/$defs/a", "^(a+)+$", "[", "object", "string"),
    *([], {}, [[]], [None], {"": ""}, {"type": "object"}, {"$ref": "#"}, [1] * 200, [{}] * 130),
)


class Mutator:
    """Inputs without end, each a good one that was spoilt in one place or some."""

    def __init__(self, seeds: Sequence[bytes], random: Random) -> None:
        self._seeds = seeds
        self._random = random
        self._ways: tuple[Callable[[bytes], bytes], ...] = (
            *(self._flip, self._overwrite, self._remove, self._repeat, self._insert, self._splice),
            *(self._cut, self._number, *[self._json] * 6),
        )

    def __call__(self) -> bytes:
        data = self._random.choice(self._seeds)
        while True:
            data = self._random.choice(self._ways)(data)[:_LARGEST]
            if self._random.random() < 0.5:
                return data

    def _span(self, data: bytes, most: int) -> tuple[int, int]:
        start = self._random.randint(0, len(data))
        return start, min(len(data), start + self._random.randint(1, most))

    def _flip(self, data: bytes) -> bytes:
        if not data:
            return b"\0"
        place = self._random.randrange(len(data))
        spoilt = data[place] ^ 1 << self._random.randrange(8)
        return data[:place] + bytes([spoilt]) + data[place + 1 :]

    def _overwrite(self, data: bytes) -> bytes:
        start, end = self._span(data, 8)
        return data[:start] + self._random.randbytes(end - start) + data[end:]

    def _remove(self, data: bytes) -> bytes:
        start, end = self._span(data, self._random.choice((1, 4, 64)))
        return data[:start] + data[end:]

    def _repeat(self, data: bytes) -> bytes:
        start, end = self._span(data, self._random.choice((4, 64, 400)))
        return data[:end] + data[start:end] * self._random.choice((1, 2, 50)) + data[end:]

    def _insert(self, data: bytes) -> bytes:
        place = self._random.randint(0, len(data))
        return data[:place] + self._random.choice(_WORDS) + data[place:]

    def _splice(self, data: bytes) -> bytes:
        other = self._random.choice(self._seeds)
        return (
            data[: self._random.randint(0, len(data))]
            + other[self._random.randint(0, len(other)) :]
        )

    def _cut(self, data: bytes) -> bytes:
        return data[: self._random.randint(0, len(data))]

    def _number(self, data: bytes) -> bytes:
        places = [place for place, byte in enumerate(data) if 0x30 <= byte <= 0x39]
        if not places:
            return data
        place = self._random.choice(places)
        number = self._random.choice((b"-1", b"4294967296", b"9" * 400, b"1e400", b"00", b".5"))
        return data[:place] + number + data[place + 1 :]

    def _json(self, data: bytes) -> bytes:
        """Spoils one of the JSON texts: the whole, or a line of it."""
        lines = data.split(b"\n")
        places = [place for place, line in enumerate(lines) if b"{" in line]
        if not places:
            return data
        place = self._random.choice(places)
        start = lines[place].index(b"{")
        head, text = lines[place][:start], lines[place][start:]
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            return self._insert(data)
        document = self._spoilt(document)
        lines[place] = head + json.dumps(document, ensure_ascii=self._random.random() < 0.9).encode(
            errors="surrogatepass"
        )
        return b"\n".join(lines)

    def _spoilt(self, document: Any) -> Any:
        nodes = [*_containers(document)]
        if not nodes:
            return self._random.choice(_VALUES)
        node = self._random.choice(nodes)
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        value = self._value(nodes)
        if not keys or self._random.random() < 0.1:
            if isinstance(node, dict):
                node[self._key(nodes)] = value
            else:
                node.append(value)
            return document
        key = self._random.choice(keys)
        match self._random.randrange(6):
            case 0:
                del node[key]
            case 1 if isinstance(node, dict):
                node[self._key(nodes)] = node.pop(key)
            case 2:
                node[key] = [node[key]]
            case 3:
                for _ in range(self._random.choice((1, 30, 210))):
                    node[key] = {str(key): node[key]} if isinstance(node, dict) else [node[key]]
            case _:
                node[key] = value
        return document

    def _value(self, nodes: list[Any]) -> Any:
        """An awkward one, or one that stands elsewhere in the document."""
        if self._random.random() < 0.7:
            return self._random.choice(_VALUES)
        found = self._random.choice(nodes)
        return json.loads(json.dumps(found))

    def _key(self, nodes: list[Any]) -> str:
        names = [key for node in nodes if isinstance(node, dict) for key in node]
        key: str = self._random.choice([*names, "", "a", "\0", "\ud800", "type", "$ref", "error"])
        return key


def _containers(value: Any) -> list[Any]:
    found = []
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict | list):
            found.append(node)
            waiting.extend(node.values() if isinstance(node, dict) else node)
    return found
