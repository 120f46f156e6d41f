"""The one thing that readers of image files raise."""

from __future__ import annotations


class BrokenImageError(Exception):
    """The file is not what it says it is; the text, which ends in no point, says how."""
