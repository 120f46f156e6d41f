"""A model file by its URL."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from yarl import URL

from .errors import ModelStoreError
from .http import HttpRefusal, open_session
from .lock import locked
from .part import PartFile, recorded_checksum
from .progress import Progress
from .transfer import Transfer

_FRAGMENT = re.compile("sha256=([0-9a-fA-F]{64})")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")
_NAME_LENGTH = 120


@dataclass(frozen=True, slots=True)
class WebFile:
    """At an http(s) URL, with the SHA-256 that it must have if the URL ends in #sha256=HEX."""

    url: URL
    sha256: str | None

    @classmethod
    def at(cls, name: str) -> WebFile:
        try:
            url = URL(name)
            valid = url.scheme in ("http", "https") and url.host and url.port
        except ValueError:
            valid = False
        if not valid:  # not shown: it may hold a password
            raise ModelStoreError(
                "the model's URL is not valid: write it like https://host/file.gguf"
            )
        match = _FRAGMENT.fullmatch(url.fragment)
        if url.fragment and match is None:
            raise ModelStoreError(
                f"{_shown(url)} is followed by #, after which only sha256= and 64 hex digits may be"
            )
        return cls(url.with_fragment(None), match[1].lower() if match else None)

    def find(self, directory: Path) -> Path | None:
        target = self._target(directory)
        if not target.is_file():
            return None
        if self.sha256 is not None and recorded_checksum(target) != self.sha256:
            return None
        return target

    async def fetch(self, directory: Path, progress: Progress) -> Path:
        target = self._target(directory)
        async with locked(target):
            found = self.find(directory)
            if found is not None:
                return found
            origin = _shown(self.url)
            part = PartFile(target)
            try:
                async with open_session() as session:
                    await Transfer(session, self.url, part, progress, origin).run()
                await part.finish(self.sha256, origin)
            except HttpRefusal as refusal:
                raise ModelStoreError(f"{refusal}: check the URL") from refusal
            finally:
                part.close()
        return target

    def _target(self, directory: Path) -> Path:
        """A name that tells the person what it is, and that no other URL has."""
        name = _UNSAFE.sub("_", self.url.name).lstrip(".") or "model"
        stem = re.sub(r"(?i)\.gguf$", "", name)[:_NAME_LENGTH]
        # Not of user and password, which may change, and of which nothing should be kept.
        digest = hashlib.sha256(str(self.url.with_user(None)).encode()).hexdigest()
        return directory / f"{stem}-{digest[:8]}.gguf"


def _shown(url: URL) -> str:
    """Without what may be secret: user, password, and the signatures that queries hold."""
    return str(url.with_user(None).with_query(None).with_fragment(None))
