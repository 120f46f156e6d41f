"""A model file that is on this machine already, and stays where it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .errors import ModelStoreError
from .gguf import begins_like_gguf
from .progress import Progress


@dataclass(frozen=True, slots=True)
class LocalFile:
    """Named by its path."""

    path: Path

    @classmethod
    def at(cls, name: str) -> LocalFile:
        try:
            path = Path(name).expanduser()
        except RuntimeError:  # ~nobody: then it is a name like any other
            path = Path(name)
        return cls(path.absolute())

    def find(self, directory: Path) -> Path | None:
        try:
            return self.path if begins_like_gguf(self.path) else None
        except OSError:
            return None

    async def fetch(self, directory: Path, progress: Progress) -> Path:
        """Only says why it was not found."""
        try:
            if not begins_like_gguf(self.path):
                raise ModelStoreError(
                    f"{self.path} is not a GGUF file; Diglot runs models in that format only"
                )
        except FileNotFoundError:
            raise ModelStoreError(f"there is no file {self.path}: check the path") from None
        except OSError as error:
            raise ModelStoreError(f"cannot read {self.path}: {error.strerror}") from error
        return self.path
