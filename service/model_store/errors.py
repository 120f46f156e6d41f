"""The one error of this package."""

from __future__ import annotations


class ModelStoreError(Exception):
    """A model cannot be had. One line, for the person who named it, that says what to do."""
