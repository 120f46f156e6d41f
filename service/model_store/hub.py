"""A model on Hugging Face, or on a server with the same API (HF_ENDPOINT)."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from yarl import URL

from .choice import choose, refuse_split
from .errors import ModelStoreError
from .http import CONNECTION_FAULTS, BearerToken, HttpRefusal, fault, open_session
from .lock import locked
from .part import PartFile
from .progress import Progress
from .transfer import Transfer

_WORD = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_STEP = r"[A-Za-z0-9_][^/\\:\x00-\x1f]*"  # of a path, and never out of its directory
_NAME = re.compile(rf"({_WORD}/{_WORD})(?::({_WORD})|((?:/{_STEP})+))?")
_FILE = re.compile(rf"{_STEP}(?:/{_STEP})*")
_LISTING = "files.json"


@dataclass(frozen=True, slots=True)
class HubModel:
    """A file of a repository, named or by its quantization."""

    repo: str
    quant: str | None = None
    file: str | None = None

    @classmethod
    def named(cls, name: str) -> HubModel | None:
        """org/repo, org/repo:QUANT or org/repo/file.gguf; None if the name is none of them."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        repo, quant, file = match.groups()
        # directory/file.gguf is a path, and org/repo/anything-else is nothing.
        if repo.lower().endswith(".gguf") or (file and not file.lower().endswith(".gguf")):
            return None
        return cls(repo, quant, file and file.lstrip("/"))

    def find(self, directory: Path) -> Path | None:
        """By the listing of when it was fetched: a name goes on meaning what it meant then."""
        file = self.file
        if file is None:
            try:
                files = json.loads((self._home(directory) / _LISTING).read_bytes())
                file = choose(self.repo, files, self.quant)
            except (FileNotFoundError, ValueError, ModelStoreError):
                return None
        path = self._home(directory) / file
        return path if path.is_file() else None

    async def fetch(self, directory: Path, progress: Progress) -> Path:
        endpoint = self._endpoint()
        async with open_session(self._token(endpoint)) as session:
            try:
                file = self.file or await self._choose(session, endpoint, directory)
                refuse_split(self.repo, file)
                target = self._home(directory) / file
                async with locked(target):
                    if not target.is_file():
                        url = endpoint / self.repo / "resolve/main" / file
                        await self._transfer(session, url, target, progress)
            except HttpRefusal as refusal:
                raise ModelStoreError(f"{refusal}: {self._fix(refusal, endpoint)}") from refusal
        return target

    async def _transfer(
        self, session: aiohttp.ClientSession, url: URL, target: Path, progress: Progress
    ) -> None:
        part = PartFile(target)
        origin = f"{self.repo}/{target.name} at {url.host}"
        try:
            transfer = Transfer(session, url, part, progress, origin)
            await transfer.run()
            await part.finish(transfer.reported_sha256, origin)
        finally:
            part.close()

    async def _choose(self, session: aiohttp.ClientSession, endpoint: URL, directory: Path) -> str:
        url = endpoint / "api/models" / self.repo
        origin = f"{self.repo} at {url.host}"
        try:
            async with session.get(url) as response:
                if response.status != 200:
                    raise HttpRefusal(origin, response.status, response.reason)
                files = _files_of(await response.read())
        except CONNECTION_FAULTS as error:
            raise ModelStoreError(
                f"{origin} cannot be looked up: {fault(error)}; check the connection"
            ) from error
        except ValueError as error:
            raise ModelStoreError(
                f"{url.host} does not answer as Hugging Face does: check HF_ENDPOINT"
            ) from error
        file = choose(self.repo, files, self.quant)
        home = self._home(directory)
        home.mkdir(parents=True, exist_ok=True)
        (home / _LISTING).write_text(json.dumps(files), encoding="utf-8")
        return file

    def _fix(self, refusal: HttpRefusal, endpoint: URL) -> str:
        token = "HF_TOKEN" if not os.environ.get("HF_TOKEN") else "an HF_TOKEN that may read it"
        if refusal.status == 403:
            return f"accept its terms at {endpoint.origin() / self.repo}, and set {token}"
        if refusal.status in (401, 404):
            here = ", which is no file here either" if self.file else ""
            return f"check the name{here}; if the repository is private or gated, set {token}"
        return "try again later"

    def _home(self, directory: Path) -> Path:
        return directory / "huggingface" / self.repo

    def _endpoint(self) -> URL:
        text = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        try:
            url = URL(text.rstrip("/"))
            if url.scheme in ("http", "https") and url.host:
                return url
        except ValueError:
            pass
        raise ModelStoreError("HF_ENDPOINT is no http(s) URL: set it to one, or to nothing")

    def _token(self, endpoint: URL) -> BearerToken | None:
        token = os.environ.get("HF_TOKEN", "").strip()
        if not token:
            return None
        if not (token.isascii() and token.isprintable()):
            raise ModelStoreError("HF_TOKEN holds more than one line of plain characters")
        return BearerToken(endpoint.origin(), token)


def _files_of(answer: bytes) -> list[str]:
    """The repository's files, but for those whose names could leave its directory here."""
    try:
        names = [each["rfilename"] for each in json.loads(answer)["siblings"]]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError from error
    return [name for name in names if isinstance(name, str) and _FILE.fullmatch(name)]
