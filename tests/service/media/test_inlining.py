"""A request's images, wherever they are, as data: URLs that can be decoded without harm."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pictures import BLUE, as_url, bmp, gif, jpeg, png
from serving import ask
from yarl import URL

from diglot.service import errors
from diglot.service.config import MediaSettings
from diglot.service.media import Web, has_images, inline_images
from diglot.service.media.allowance import Allowance
from diglot.service.media.inline import AT_ONCE
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

FETCHING = MediaSettings(fetch_images=True)


def looking_at(*urls: str) -> CreateChatCompletionRequest:
    """A question, then these images, then more text: each message has its own."""
    request = ask()
    request.messages[0].ClearField("content")
    request.messages[0].parts.add().text.text = "What is it?"
    for url in urls:
        request.messages[0].parts.add().image_url.url = url
    request.messages[0].parts.add().text.text = "Be brief."
    return request


class Shelf(Web):
    """Has these images, without a network."""

    def __init__(self, **images: bytes) -> None:
        super().__init__()
        self.images = images
        self.fetched: list[str] = []
        self.under_way = self.most_under_way = 0
        self.let_go = asyncio.Event()
        self.let_go.set()

    async def fetch(self, url: URL, allowance: Allowance, seconds: float) -> bytes:
        self.fetched.append(url.name)
        self.under_way += 1
        self.most_under_way = max(self.under_way, self.most_under_way)
        try:
            await self.let_go.wait()
            data = self.images[url.name]
            allowance.take_bytes(len(data))
            return data
        finally:
            self.under_way -= 1


async def inlined(request: CreateChatCompletionRequest, **settings: Any) -> list[str]:
    copy = await inline_images(request, MediaSettings(**settings), Shelf())
    return [part.image_url.url for part in copy.messages[0].parts[1:-1]]


async def test_every_image_is_in_its_place_and_the_rest_as_it_was() -> None:
    """In a copy: what the caller sent stays what it is."""
    request = looking_at("https://images.test/cat", as_url(gif(), "image/gif"))
    request.messages[0].parts[1].image_url.detail = "low"
    before = request.SerializeToString()
    copy = await inline_images(request, FETCHING, Shelf(cat=png()))
    assert request.SerializeToString() == before
    first, second = (part.image_url for part in copy.messages[0].parts[1:3])
    assert (first.url, first.detail) == (as_url(png()), "low")
    assert second.url == as_url(gif(), "image/gif")
    for image, sent in zip((first, second), request.messages[0].parts[1:3], strict=True):
        image.url = sent.image_url.url
    assert copy == request


async def test_who_has_none() -> None:
    assert not has_images(ask())
    assert not has_images(looking_at())
    assert has_images(looking_at("data:,"))


@pytest.mark.parametrize(
    ("url", "means"),
    [
        (as_url(png()), as_url(png())),
        (as_url(jpeg(), "image/jpeg"), as_url(jpeg(), "image/jpeg")),
        (as_url(bmp(), "image/x-ms-bmp"), as_url(bmp(), "image/bmp")),
        (as_url(png(), "image/jpeg"), as_url(png())),
        (as_url(png(), "image/png;name=a"), as_url(png())),
        (as_url(png(), "IMAGE/PNG").replace("data", "DATA"), as_url(png())),
        (as_url(gif(), "image/gif").rstrip("="), as_url(gif(), "image/gif")),
        (as_url(png()).replace("AA", "AA\r\n "), as_url(png())),
    ],
    ids=["png", "jpeg", "bmp", "mislabelled", "parameters", "capitals", "unpadded", "lines"],
)
async def test_data_urls_of_every_spelling_become_one(url: str, means: str) -> None:
    """The bytes say what it is: clients call every image a JPEG, and OpenAI's API lets them."""
    assert await inlined(looking_at(url)) == [means]


BOMB = png(8000, 8000, packed=b"\x78\x9c\x03\0\0\0\0\1")
BAD: list[tuple[str, list[str], dict[str, Any], type[errors.ChatError], str, int]] = [
    ("a URL", ["https://images.test/cat"], {}, errors.UnsupportedValue, "media.fetch_images", 1),
    ("plain http", ["http://images.test/cat"], {}, errors.InvalidValue, "begins with 'https:'", 1),
    ("a file", ["file:///etc/passwd"], {}, errors.InvalidValue, "begins with 'https:'", 1),
    ("nothing", [""], {}, errors.InvalidValue, "begins with 'https:'", 1),
    ("bare base64", ["iVBORw0KGgo="], {}, errors.InvalidValue, "begins with 'https:'", 1),
    ("no data", ["data:"], {}, errors.InvalidValue, "expected a data: URL", 1),
    ("not base64", ["data:image/png,abc"], {}, errors.InvalidValue, "expected a data: URL", 1),
    ("text", ["data:text/plain;base64,YQ=="], {}, errors.InvalidValue, "expected a data: URL", 1),
    ("bad letters", ["data:image/png;base64,a*b="], {}, errors.InvalidValue, "valid base64", 1),
    ("odd letters", ["data:image/png;base64,ä"], {}, errors.InvalidValue, "valid base64", 1),
    ("one letter", ["data:image/png;base64,a"], {}, errors.InvalidValue, "valid base64", 1),
    ("empty", ["data:image/png;base64,"], {}, errors.InvalidValue, "empty", 1),
    ("no image", [as_url(b"hello")], {}, errors.UnsupportedValue, "another kind", 1),
    ("second", [as_url(png()), as_url(b"hi")], {}, errors.UnsupportedValue, "another kind", 2),
    ("cut", [as_url(png()[:-40])], {}, errors.InvalidValue, "cut off", 1),
    ("huge", [as_url(BOMB)], {}, errors.InvalidValue, "more than 50 megapixels", 1),
    ("many pixels", [as_url(png(900, 900))] * 2, {"max_total_megapixels": 1},
     errors.InvalidValue, "more than 1 megapixels", 2),
    ("many bytes", [as_url(png() + bytes(600_000))] * 2, {"max_total_mib": 1},
     errors.InvalidValue, "larger than 1 MiB", 2),
]  # fmt: skip


@pytest.mark.parametrize(
    ("urls", "settings", "kind", "words", "part"), [r[1:] for r in BAD], ids=[r[0] for r in BAD]
)
async def test_what_is_refused(
    urls: list[str],
    settings: dict[str, Any],
    kind: type[errors.ChatError],
    words: str,
    part: int,
) -> None:
    """By its place, in words that tell the way out, and without repeating what was sent."""
    with pytest.raises(errors.InvalidRequest, match=words) as refused:
        await inlined(looking_at(*urls), **settings)
    assert type(refused.value) is kind
    assert refused.value.field == f"messages[0].parts[{part}].image_url.url"
    assert len(refused.value.message) < 250


async def test_too_many() -> None:
    with pytest.raises(errors.InvalidValue, match="at most 16 in a request, but got 17") as refused:
        await inlined(looking_at(*[as_url(png())] * 17))
    assert refused.value.field == "messages"


async def test_nothing_is_fetched_for_a_request_that_is_refused_anyway() -> None:
    shelf = Shelf(cat=png())
    for bad in ("http://images.test/cat", "data:image/png,x"):
        with pytest.raises(errors.InvalidValue):
            await inline_images(looking_at("https://images.test/cat", bad), FETCHING, shelf)
    assert not shelf.fetched


async def test_a_few_are_fetched_at_a_time_and_all_count_together() -> None:
    """And keep their order, whichever comes first."""
    names = [f"p{number}" for number in range(10)]
    pictures = {name: png(10, 10 + number) for number, name in enumerate(names)}
    shelf = Shelf(**pictures)
    request = looking_at(*(f"https://images.test/{name}" for name in names))
    shelf.let_go.clear()
    inlining = asyncio.ensure_future(inline_images(request, FETCHING, shelf))
    while shelf.under_way < AT_ONCE:
        await asyncio.sleep(0)
    shelf.let_go.set()
    copy = await inlining
    urls = [part.image_url.url for part in copy.messages[0].parts[1:-1]]
    assert urls == [as_url(pictures[name]) for name in names]
    assert shelf.most_under_way == AT_ONCE
    large = {name: png(10, 10, BLUE) + bytes(200_000) for name in names}
    settings = MediaSettings(fetch_images=True, max_total_mib=1)
    with pytest.raises(errors.InvalidValue, match="together they are larger than 1 MiB"):
        await inline_images(request, settings, Shelf(**large))


@pytest.mark.parametrize("end", ["leaves", "fails"])
async def test_no_fetching_outlives_its_request(end: str) -> None:
    """Neither when the caller leaves, nor when another image turns out bad."""
    shelf = Shelf(cat=png())
    shelf.let_go.clear()
    bad = as_url(b"no image") if end == "fails" else as_url(png())
    request = looking_at("https://images.test/cat", bad)
    inlining = asyncio.ensure_future(inline_images(request, FETCHING, shelf))
    expected: type[BaseException] = errors.UnsupportedValue
    if end == "leaves":
        while not shelf.under_way:
            await asyncio.sleep(0)
        inlining.cancel()
        expected = asyncio.CancelledError
    with pytest.raises(expected):
        await inlining
    assert shelf.fetched == ["cat"]
    assert shelf.under_way == 0
