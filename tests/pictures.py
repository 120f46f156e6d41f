"""Image files, made by hand: whole ones, and such as would hurt a decoder."""

from __future__ import annotations

import base64
import struct
import zlib

RED, BLUE = b"\xff\x00\x00", b"\x00\x00\xff"


def png(
    width: int = 40, height: int = 30, colour: bytes = RED, packed: bytes | None = None
) -> bytes:
    """Of one colour, unless it is given what to hold in its stead, packed already."""
    if packed is None:
        packed = zlib.compress((b"\0" + colour * width) * height)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND")
    )


def _chunk(kind: bytes, content: bytes = b"") -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def jpeg(width: int = 40, height: int = 30, scans: int = 1) -> bytes:
    """A progressive one, grey; all but the first scan say nothing, and cost a decoder time."""
    blocks = -(-width // 8) * -(-height // 8)
    return (
        b"\xff\xd8"
        + _segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
        + _segment(0xDB, b"\0" + b"\1" * 64)
        + _segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0")
        + _segment(0xC4, b"\0\1" + bytes(15) + b"\0")  # the code 0: a difference of 0
        + _segment(0xDA, b"\1\1\0\0\0\0")
        + _bits("0" * blocks)
        + _segment(0xC4, b"\x10\1" + bytes(15) + b"\xe0")  # the code 0: 32,767 empty blocks
        + (_segment(0xDA, b"\1\1\x10\1\x3f\0") + _bits(("0" + "1" * 14) * -(-blocks // 32767)))
        * (scans - 1)
        + b"\xff\xd9"
    )


def _segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def _bits(text: str) -> bytes:
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")


def gif(width: int = 1, height: int = 1) -> bytes:
    """Two colours; only the first pixel is drawn."""
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0x80, 0, 0)
        + RED
        + BLUE
        + b","
        + struct.pack("<HHHHB", 0, 0, 1, 1, 0)
        + b"\2\2D\1\0;"
    )


def bmp(width: int = 2, height: int = 2) -> bytes:
    lines = b"\0" * (-(-width * 3 // 4) * 4) * abs(height)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(lines), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(lines), 0, 0, 54) + header + lines


def as_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
