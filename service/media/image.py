"""What an image is, by its own bytes, found without decoding it.

llama.cpp decodes with stb_image, which takes what a header says at its word: a file of a
kilobyte can ask for gigabytes. So headers are read here first.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import InvalidValue, UnsupportedValue
from . import jpeg, png
from .broken import BrokenImageError

STEEPEST = 200
"""How many times longer than wide an image may be, or wider than long. Beyond that encoders
that keep the proportions blow up the short side (Qwen's own preprocessor refuses them too)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of image file."""

    signature: bytes
    """How each begins."""
    media_type: str
    size: Callable[[bytes], tuple[int, int]]
    """Reads width and height."""
    check: Callable[[bytes], None] = lambda data: None
    """Raises BrokenImageError if decoding would take more than the size tells."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a kind that can be decoded."""

    data: bytes
    kind: Kind
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height

    def check(self) -> None:
        """Raises InvalidValue if decoding takes more than the size tells. Takes as long as
        unpacking does: the size should be agreed to before."""
        try:
            self.kind.check(self.data)
        except BrokenImageError as error:
            raise _invalid(error) from None


def _gif(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _bmp(data: bytes) -> tuple[int, int]:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return abs(width), abs(height)  # a negative height means that the first line is the top


# stb_image knows more kinds, which nobody sends, and does not know WebP.
KINDS = (
    Kind(png.SIGNATURE, "image/png", png.size, png.check),
    Kind(jpeg.SIGNATURE, "image/jpeg", jpeg.size, jpeg.check),
    Kind(b"GIF87a", "image/gif", _gif),
    Kind(b"GIF89a", "image/gif", _gif),
    Kind(b"BM", "image/bmp", _bmp),
)


def look_at(data: bytes) -> Image:
    """Raises InvalidValue or UnsupportedValue if it is not an image that can be decoded."""
    if not data:
        raise _invalid("it is empty")
    kind = next((each for each in KINDS if data.startswith(each.signature)), None)
    if kind is None:
        webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
        raise UnsupportedValue(
            f"Unsupported image: it is {'WebP' if webp else 'of another kind'}, and this model "
            "takes PNG, JPEG, GIF and BMP."
        )
    try:
        width, height = kind.size(data)
    except struct.error:
        raise _invalid("it is cut off") from None
    except BrokenImageError as error:
        raise _invalid(error) from None
    if width < 1 or height < 1:
        raise _invalid("it is empty")
    if max(width, height) > STEEPEST * min(width, height):
        raise _invalid(f"one side is more than {STEEPEST} times as long as the other")
    return Image(data, kind, width, height)


def _invalid(why: object) -> InvalidValue:
    return InvalidValue(f"Invalid image: {why}.")
