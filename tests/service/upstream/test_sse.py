"""Server-sent events in whatever pieces they arrive."""

from __future__ import annotations

import time
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diglot.service.errors import UpstreamInvalid
from diglot.service.upstream import sse
from diglot.service.upstream.sse import EventReader


def read(*pieces: bytes) -> list[bytes]:
    reader = EventReader()
    found = [data for piece in pieces for data in reader.feed(piece)]
    return found + list(reader.end())


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b'data: {"a":1}\n\ndata: [DONE]\n\n', [b'{"a":1}', b"[DONE]"]),
        (b"data:no space\n\n", [b"no space"]),
        (b"data: crlf\r\n\r\ndata: more\r\n\r\n", [b"crlf", b"more"]),
        (b": comment\n\ndata: x\n\n:\n\n", [b"x"]),
        (b"id: 1\nevent: message\nretry: 5\ndata: x\n\n", [b"x"]),
        (b"data: {\ndata: }\n\n", [b"{\n}"]),
        (b"data: the last blank line is missing\n", [b"the last blank line is missing"]),
        (b"data: whole\n\ndata: torn", [b"whole"]),
        ("data: \u2028 \u0085 raw\n\n".encode(), ["\u2028 \u0085 raw".encode()]),
        (b"data:\n\ndata: x\n\ndata: \r\n\r\nevent: ping\ndata:\n\ndata:\ndata:\n\n", [b"x"]),
        (b"data:\n", []),
        (b"", []),
        (b"\n\n\n", []),
    ],
)
def test_events(stream: bytes, events: list[bytes]) -> None:
    assert read(stream) == events
    assert read(*(stream[i : i + 1] for i in range(len(stream)))) == events


@given(
    st.lists(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1)),
    st.randoms(use_true_random=False),
)
def test_torn_anywhere(texts: list[str], random: Random) -> None:
    """However the bytes are torn, the events are the same."""
    stream = b"".join(b"data: " + text.encode() + b"\r\n\r\n" for text in texts)
    cuts = sorted(random.sample(range(len(stream) + 1), min(3, len(stream))))
    edges = [0, *cuts, len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(edges)]
    assert read(*pieces) == [data for text in texts if (data := text.encode().strip())]


@pytest.mark.parametrize("line", [b"x" * 100, b"data: " + b"x" * 20 + b"\n", b"data:\n" * 10])
def test_an_endless_event_is_cut_off(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the line never ends, or the event: memory stays bounded."""
    monkeypatch.setattr(sse, "LONGEST_EVENT", 1000)
    with pytest.raises(UpstreamInvalid, match="too long"):
        read(*[line] * 100)


def test_a_long_event_costs_time_in_proportion() -> None:
    """And not to its square: a line is not copied again with each of its pieces."""
    began = time.process_time()
    long = read(b"data: ", *[b"x" * 1024] * (15 * 1024), b"\n\n")
    assert [len(data) for data in long] == [15 * 2**20]
    assert time.process_time() - began < 5
