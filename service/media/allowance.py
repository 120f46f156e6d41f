"""How much the images of one request may still take."""

from __future__ import annotations

from ..config import MediaSettings
from ..errors import InvalidValue

MIB = 2**20
MEGAPIXEL = 10**6


class Allowance:
    """All images of a request share one: many small ones cost what a large one does."""

    def __init__(self, settings: MediaSettings) -> None:
        self._settings = settings
        self._bytes = settings.max_total_mib * MIB
        self._pixels = settings.max_total_megapixels * MEGAPIXEL

    def take_bytes(self, count: int) -> None:
        """Raises InvalidValue if that is more than there is left."""
        self._bytes -= count
        if self._bytes < 0:
            raise InvalidValue(
                "Invalid images: together they are larger than "
                f"{self._settings.max_total_mib} MiB, the most that this server takes."
            )

    def take_pixels(self, count: int) -> None:
        """Likewise."""
        self._pixels -= count
        if self._pixels < 0:
            raise InvalidValue(
                "Invalid images: together they have more than "
                f"{self._settings.max_total_megapixels} megapixels, the most that this server "
                "takes. Please send them smaller."
            )
