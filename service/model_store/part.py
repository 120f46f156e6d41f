"""A file on its way: NAME.part while it grows, NAME once it is whole and has been checked."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from .errors import ModelStoreError
from .gguf import MAGIC
from .thread import in_thread

_CHUNK = 16 * 2**20
# Filling a disk to the last byte breaks whatever else lives on it.
_SPARE = 64 * 2**20


class PartFile:
    """To be used under the lock of its target, and closed.

    Closing keeps what is there, so that a later attempt can go on from it.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.size = 0
        self.validator: str | None = None
        """What the source called this content (its ETag or date), for If-Range."""
        self._path = target.with_name(f"{target.name}.part")
        self._validator_path = target.with_name(f"{target.name}.part.etag")
        self._digest = hashlib.sha256()
        self._file: BinaryIO = self._path.open("a+b")

    async def resume(self) -> None:
        """Takes up what an earlier attempt left, if it can be known to be of the same file."""
        try:
            self.validator = self._validator_path.read_text("ascii")
        except (FileNotFoundError, UnicodeError):
            await self.restart(None)
            return
        self._file.seek(0)
        while chunk := await in_thread(self._file.read, _CHUNK):
            await in_thread(self._digest.update, chunk)
            self.size += len(chunk)

    async def restart(self, validator: str | None) -> None:
        """Begins anew, with content that this validator stands for."""
        self._digest = hashlib.sha256()
        self.size = 0
        self.validator = validator
        # In this order, so that no crash leaves old content under a new validator.
        self._validator_path.unlink(missing_ok=True)
        self._file.truncate(0)
        if validator:
            self._validator_path.write_text(validator, "ascii")

    def reserve(self, total: int) -> None:
        """Raises unless the rest of the file will fit."""
        check_space(self.target.parent, total - self.size)

    async def write(self, data: bytes) -> None:
        try:
            await in_thread(self._append, data)
        except OSError as error:
            raise ModelStoreError(f"cannot write {self._path}: {error.strerror}") from error

    def _append(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    async def finish(self, sha256: str | None, origin: str) -> None:
        """Checks the content and gives it its name, for good.

        Records its SHA-256 beside it, as sha256sum does. Content that is wrong is removed.
        """
        digest = self._digest.hexdigest()
        if sha256 is not None and digest != sha256.lower():
            self.discard()
            raise ModelStoreError(
                f"{origin} is not what was expected, and was removed: its SHA-256 is {digest}"
                f" instead of {sha256.lower()}; check where it comes from, then try again"
            )
        await in_thread(self._flush)
        self.check_magic(origin)
        # In this order, so that no crash leaves the new checksum beside an older file.
        os.replace(self._path, self.target)
        _write_checksum(self.target, digest)
        self._validator_path.unlink(missing_ok=True)
        await in_thread(_sync_directory, self.target.parent)

    def _flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def check_magic(self, origin: str) -> None:
        """Raises, and removes the file, if it cannot become GGUF. Of use once some bytes came."""
        self._file.flush()
        with self._path.open("rb") as file:
            start = file.read(len(MAGIC))
        if start != MAGIC:
            self.discard()
            raise ModelStoreError(
                f"{origin} is not a GGUF file: it begins with {start!r};"
                " Diglot runs models in that format only"
            )

    def discard(self) -> None:
        self._validator_path.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        with suppress(OSError):  # what a full disk still refuses, nobody was promised
            self._file.close()


def check_space(directory: Path, needed: int) -> None:
    """Raises unless so many bytes will fit."""
    free = shutil.disk_usage(directory).free
    if needed + _SPARE > free:
        raise ModelStoreError(
            f"{directory} has {free / 1e6:.0f} MB free, and {(needed + _SPARE) / 1e6:.0f} MB"
            " are needed: make room, or choose another directory with --state"
        )


def recorded_checksum(path: Path) -> str | None:
    """The SHA-256 that the file had when it was fetched."""
    try:
        return _checksum_path(path).read_text("ascii")[:64]
    except (FileNotFoundError, UnicodeError):
        return None


def _write_checksum(path: Path, digest: str) -> None:
    record = _checksum_path(path)
    temporary = record.with_name(f"{record.name}.part")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(f"{digest}  {path.name}\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, record)


def _checksum_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
