"""The models of one directory, and every way to name one."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from .catalogue import CATALOGUE
from .errors import ModelStoreError
from .hub import HubModel
from .local import LocalFile
from .progress import Progress, Throttle
from .web import WebFile


class Source(Protocol):
    """What a name stands for."""

    def find(self, directory: Path) -> Path | None:
        """The file, if it is whole and on disk."""

    async def fetch(self, directory: Path, progress: Progress) -> Path:
        """Makes it so, or raises ModelStoreError."""


class ModelStore:
    """Finds and fetches models.

    store.find("smollm2-135m-instruct")          # of the catalogue
    store.find("./model.gguf")                   # a file, used where it is
    store.find("https://host/model.gguf")        # a file to fetch; #sha256=… checks it
    store.find("org/repo:Q4_K_M")                # on Hugging Face; also org/repo/file.gguf
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find(self, name: str) -> Path | None:
        """The model's file if it is here. Never asks the network."""
        try:
            return source_of(name).find(self._directory)
        except (ModelStoreError, OSError):
            return None  # pull() says why

    async def pull(self, name: str, progress: Progress) -> Path:
        """The model's file, fetched unless it is here. Raises ModelStoreError.

        Can be cancelled; what was fetched of a URL by then is kept for the next time.
        """
        source = source_of(name)
        try:
            found = source.find(self._directory)
            if found is not None:
                return found
            self._directory.mkdir(parents=True, exist_ok=True)
            return await source.fetch(self._directory, Throttle(progress))
        except OSError as error:
            raise ModelStoreError(f"cannot store the model: {error}") from error


def source_of(name: str) -> Source:
    """Raises ModelStoreError if the name is of no kind."""
    if model := CATALOGUE.get(name):
        return model
    if any(sign in name for sign in "\0\r\n"):
        raise ModelStoreError(f"no model is called {name!r}: write it in one line")
    if "://" in name:
        return WebFile.at(name)
    # org/repo/file.gguf may be a path as well, and then what is here counts.
    if name.startswith(("/", "./", "../", "~")) or Path(name).is_file():
        return LocalFile.at(name)
    if on_hub := HubModel.named(name):
        return on_hub
    if name.lower().endswith(".gguf"):
        return LocalFile.at(name)
    raise ModelStoreError(
        f"there is no model {name!r} in the catalogue ({', '.join(CATALOGUE)});"
        " name one of it, the path or URL of a GGUF file, or org/repo on Hugging Face"
    )
