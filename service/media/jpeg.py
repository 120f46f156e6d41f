"""The size of a JPEG image, and whether it can be decoded in reasonable time."""

from __future__ import annotations

import re
import struct

from .broken import BrokenImageError

SIGNATURE = b"\xff\xd8\xff"

MOST_SCANS = 1000
"""Progressive images come in some ten layers over all pixels. Made up, a layer takes 76 bytes:
a file of a megabyte kept stb_image busy for 20 s."""
MOST_SEGMENTS = 1000
"""Before the size. A colour profile can be 255 of them."""

_WITH_SIZE = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive: what stb_image decodes
_SCAN = b"\xff\xda"
# Tables, restart interval, application data, comments: all that may stand before the size.
_BEFORE = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}


_MARKER = re.compile(rb"\xff+([^\xff])", re.DOTALL)  # between two of them may be padding


def size(data: bytes) -> tuple[int, int]:
    at = len(b"\xff\xd8")
    for _ in range(MOST_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            break
        at, marker = found.end(), found[1][0]
        if marker in _WITH_SIZE:
            height, width = struct.unpack_from(">HH", data, at + 3)
            return width, height
        (length,) = struct.unpack_from(">H", data, at)
        if marker not in _BEFORE or length < 2:
            raise BrokenImageError("it is a JPEG of a rare kind, or broken")
        at += length
    raise BrokenImageError("it is a JPEG without a size")


def check(data: bytes) -> None:
    """Counts too what only looks like a scan, in the film that a phone attaches to a picture:
    another reason for so high a limit."""
    if data.count(_SCAN) > MOST_SCANS:
        raise BrokenImageError("it is a JPEG with too many scans")
