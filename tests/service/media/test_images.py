"""What is found out about an image before anything decodes it."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import bmp, gif, jpeg, png

from diglot.service.errors import InvalidRequest, InvalidValue, UnsupportedValue
from diglot.service.media.image import KINDS, look_at


@pytest.mark.parametrize(
    ("data", "media_type", "width", "height"),
    [
        (png(40, 30), "image/png", 40, 30),
        (jpeg(50, 20), "image/jpeg", 50, 20),
        (jpeg(17, 9, scans=12), "image/jpeg", 17, 9),
        (gif(3, 5), "image/gif", 3, 5),
        (gif(3, 5).replace(b"89a", b"87a"), "image/gif", 3, 5),
        (bmp(4, 6), "image/bmp", 4, 6),
        (bmp(4, -6), "image/bmp", 4, 6),
        (b"BM" + bytes(12) + struct.pack("<IHH", 12, 8, 9), "image/bmp", 8, 9),
    ],
)
def test_kind_and_size(data: bytes, media_type: str, width: int, height: int) -> None:
    """As the bytes say it."""
    image = look_at(data)
    image.check()
    assert (image.kind.media_type, image.width, image.height) == (media_type, width, height)


def test_an_interlaced_png_has_its_lines_more_than_once() -> None:
    """The most that it may unpack to is not too little for any."""
    starts_and_steps = [
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]  # fmt: skip
    for width, height in [(1, 1), (1, 200), (200, 1), (7, 9), (100, 100)]:
        unpacked = 0
        for x, y, across, down in starts_and_steps:
            columns, lines = -(-(width - x) // across), -(-(height - y) // down)
            if columns > 0 and lines > 0:
                unpacked += lines * (1 + 3 * columns)
        look_at(png(width, height, packed=zlib.compress(bytes(unpacked)))).check()


def test_a_jpeg_may_have_padding_and_attachments_before_its_size() -> None:
    """As cameras and editors leave them."""
    plain = jpeg(50, 20)
    attachment = b"\xff\xe1\x00\x08\xff\xc0\x00\x01\x02\x03"  # which looks like a size
    padded = plain[:2] + attachment + b"\x00\x00\xff\xff\xff" + plain[3:]
    assert (look_at(padded).width, look_at(padded).height) == (50, 20)


WEBP = b"RIFF\x24\0\0\0WEBPVP8 "
BOMB = zlib.compress(bytes(50 * 2**20), 9)


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"", InvalidValue, "empty"),
        (b"<svg/>", UnsupportedValue, "of another kind, and this model takes PNG, JPEG, GIF and B"),
        (WEBP, UnsupportedValue, "it is WebP"),
        (b"RIFF\x24\0\0\0WAVEfmt ", UnsupportedValue, "of another kind"),
        (png(0, 1), InvalidValue, "empty"),
        (gif(0, 0), InvalidValue, "empty"),
        (png()[:20], InvalidValue, "cut off"),
        (png()[:-30], InvalidValue, "cut off"),
        (png(packed=b"no zlib"), InvalidValue, "cannot be unpacked"),
        (png(1, 1, packed=BOMB), InvalidValue, "unpacks to more than its size"),
        (png().replace(b"IHDR", b"IDAT"), InvalidValue, "does not begin with its size"),
        (png().replace(b"\x08\x02\0\0\0", b"\x08\x05\0\0\0"), InvalidValue, "unknown colours"),
        (png(201, 1), InvalidValue, "more than 200 times"),
        (jpeg(1, 201), InvalidValue, "more than 200 times"),
        (jpeg()[:4], InvalidValue, "cut off"),
        (b"\xff\xd8\xff\xd9", InvalidValue, "cut off"),
        (b"\xff\xd8\xff\xfe\0\2" * 2, InvalidValue, "rare kind, or broken"),
        (b"\xff\xd8" + b"\xff\xfe\0\2" * 5000, InvalidValue, "without a size"),
        (jpeg().replace(b"\xff\xc2", b"\xff\xc9"), InvalidValue, "rare kind"),
        (jpeg(scans=1001), InvalidValue, "too many scans"),
        (bmp()[:20], InvalidValue, "cut off"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused(data: bytes, kind: type[InvalidRequest], words: str) -> None:
    """Also where it begins like one, and only then does harm."""
    with pytest.raises(InvalidRequest, match=words) as refused:
        look_at(data).check()
    assert type(refused.value) is kind


def test_a_bomb_is_neither_held_nor_unpacked_to_the_end() -> None:
    """This one has no end: who looked for it would find that."""
    tracemalloc.start()
    try:
        with pytest.raises(InvalidValue, match="more than its size"):
            look_at(png(1, 1, packed=BOMB[:-1000])).check()
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=200))
def test_any_bytes_are_an_image_or_refused(data: bytes) -> None:
    """Never another exception."""
    for begin in [b"", *(each.signature for each in KINDS)]:
        with suppress(InvalidRequest):
            look_at(begin + data).check()
