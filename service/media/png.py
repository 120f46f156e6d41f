"""The size of a PNG image, and whether it unpacks to what that size says."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from .broken import BrokenImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"

MOST_CHUNKS = 100_000
"""Of 12 bytes each if they are empty: without a limit a file could be all of those."""

_HEADER = struct.Struct(">8xI4sIIBB")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PIECE = 2**16
_STEP = 2**20


def size(data: bytes) -> tuple[int, int]:
    width, height, _ = _header(data)
    return width, height


def check(data: bytes) -> None:
    """Unpacks the image, a megabyte at a time, and keeps nothing.

    stb_image unpacks all there is before it looks at how much there should be: 4 GB from a
    file of 4 MB.
    """
    width, height, bits = _header(data)
    # A line has a byte before it, and rounds up to whole bytes; interlaced, there are
    # about twice as many lines.
    room = width * height * bits // 8 + 4 * height + 64
    packed = zlib.decompressobj()
    try:
        for piece in _contents(data):
            rest = piece
            while rest and not packed.eof:
                room -= len(packed.decompress(rest, _STEP))
                if room < 0:
                    raise BrokenImageError("it is a PNG that unpacks to more than its size")
                rest = packed.unconsumed_tail
    except zlib.error:
        raise BrokenImageError("it is a PNG that cannot be unpacked") from None
    if not packed.eof:
        raise BrokenImageError("it is cut off")


def _header(data: bytes) -> tuple[int, int, int]:
    """Width, height and bits per pixel."""
    length, kind, width, height, depth, colour = _HEADER.unpack_from(data)
    if (length, kind) != (13, b"IHDR"):
        raise BrokenImageError("it is a PNG that does not begin with its size")
    bits = _CHANNELS.get(colour, 0) * depth
    if depth > 16 or not bits:
        raise BrokenImageError("it is a PNG of unknown colours")
    return width, height, bits


def _contents(data: bytes) -> Iterator[bytes]:
    """The packed image, piece by piece. Ends early if the file does."""
    at = len(SIGNATURE)
    for _ in range(MOST_CHUNKS):
        if at + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            return
        if kind == b"IDAT":
            end = min(at + 8 + length, len(data))
            # zlib hands back what it has not got to, as a copy: so not too much at a time.
            yield from (data[cut : min(cut + _PIECE, end)] for cut in range(at + 8, end, _PIECE))
        at += 12 + length  # with the checksum
