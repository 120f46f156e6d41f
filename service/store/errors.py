"""What is told to operators."""

from __future__ import annotations


class StoreError(Exception):
    """The database cannot be used. The text holds no password."""
