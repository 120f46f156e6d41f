"""data: URLs that hold an image."""

from __future__ import annotations

import base64
import binascii

from ..errors import InvalidValue

SCHEME = "data:"


class Payload:
    """The image in a data: URL, still in base64."""

    def __init__(self, url: str) -> None:
        """Raises InvalidValue."""
        head, comma, text = url.partition(",")
        # Which image is left to the bytes: clients that call every image a JPEG are common,
        # and OpenAI's API takes them.
        kind, *parameters = head.lower().split(";")
        if not comma or not kind.startswith("data:image/") or parameters[-1:] != ["base64"]:
            raise InvalidValue(
                "Invalid image: expected a data: URL like 'data:image/png;base64,…'."
            )
        self._text = text

    def __len__(self) -> int:
        """About as many bytes as it holds, and never fewer."""
        return len(self._text) * 3 // 4 + 3

    def decode(self) -> bytes:
        """Raises InvalidValue. Line breaks are allowed, and missing padding, as elsewhere."""
        text = "".join(self._text.split()).rstrip("=")
        try:
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise InvalidValue("Invalid image: the data: URL is not valid base64.") from None


def data_url(media_type: str, data: bytes) -> str:
    return f"{SCHEME}{media_type};base64,{base64.b64encode(data).decode()}"
