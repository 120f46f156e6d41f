"""Models on disk: what a name means, and how its file gets here.

A model's file appears under its name only when it is whole and was checked, and two processes
that want the same one fetch it once.
"""

from __future__ import annotations

from .catalogue import CATALOGUE
from .errors import ModelStoreError
from .progress import Progress
from .store import ModelStore

__all__ = ["CATALOGUE", "ModelStore", "ModelStoreError", "Progress"]
