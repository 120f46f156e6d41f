"""What a request must be, before any model sees it."""

from .table import TABLE, check

__all__ = ["TABLE", "check"]
