"""Images of a request, for engines that decode them themselves.

Such an engine gets no URL to follow and no bytes that were not looked at: each image reaches it
as a data: URL that holds a whole image of a known kind and size. Upstreams do this work
themselves, and get requests as they are.
"""

from __future__ import annotations

from .inline import has_images, inline_images
from .web import Web

__all__ = ["Web", "has_images", "inline_images"]
