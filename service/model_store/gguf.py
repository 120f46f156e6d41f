"""GGUF, the one format of model files that llama.cpp loads, as far as a store must know it."""

from __future__ import annotations

from pathlib import Path

MAGIC = b"GGUF"


def begins_like_gguf(path: Path) -> bool:
    """Raises OSError if the file cannot be read."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC
