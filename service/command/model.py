"""`diglot model`: models on this machine's disk, fetched before a server needs them."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, NoReturn, Protocol

from .arguments import Failure, add_config, add_state, state_of, table

if TYPE_CHECKING:
    from tqdm import tqdm

    from .arguments import Commands


def register(commands: Commands) -> None:
    parser = commands.add_parser("model", help="fetch and list models", description=__doc__)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    pull = actions.add_parser(
        "pull",
        help="fetch a model",
        description="Fetches a model, unless it is there already, and prints its SHA-256 and path"
        " as sha256sum does.",
    )
    pull.add_argument(
        "source",
        metavar="NAME|PATH|URL",
        help="a name of the catalogue, org/repo:quant on Hugging Face, or a GGUF file",
    )
    pull.set_defaults(run=_pull)

    show = actions.add_parser("list", help="list the models fetched", description="Lists them.")
    show.set_defaults(run=_list)
    for action in (pull, show):
        add_state(action)
        add_config(action)


def _pull(arguments: argparse.Namespace) -> int:
    import asyncio
    import hashlib

    from ..model_store import ModelStore, ModelStoreError
    from ..state import MODELS_DIRECTORY

    store = ModelStore(state_of(arguments) / MODELS_DIRECTORY)
    progress: Progress = Bar() if sys.stderr.isatty() else Lines()
    try:
        path = asyncio.run(store.pull(arguments.source, progress.show))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (ModelStoreError, OSError) as error:
        raise Failure(str(error)) from error
    finally:
        progress.close()
    print(f"{digest}  {path}")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from ..state import MODELS_DIRECTORY

    state = state_of(arguments)
    if not state.is_dir():
        raise Failure(f"there are no models: there is no directory {state}")
    files = sorted((state / MODELS_DIRECTORY).rglob("*.gguf"))
    rows = [(str(file), f"{file.stat().st_size / 1e6:.0f} MB") for file in files]
    print(table([("FILE", "SIZE"), *rows]))
    return 0


class Progress(Protocol):
    """Tells a person how far a download is."""

    def show(self, done: int, total: int | None) -> None: ...

    def close(self) -> None: ...


class Bar:
    """For a terminal."""

    def __init__(self) -> None:
        self._bar: tqdm[NoReturn] | None = None

    def show(self, done: int, total: int | None) -> None:
        bar = self._bar or self._begun()
        bar.total = total
        bar.update(done - bar.n)

    def _begun(self) -> tqdm[NoReturn]:
        from tqdm import tqdm

        self._bar = tqdm(unit="B", unit_scale=True, file=sys.stderr)
        return self._bar

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class Lines:
    """For a log: a line every few seconds says as much as it needs."""

    def __init__(self, seconds: float = 5) -> None:
        self._seconds = seconds
        self._next = time.monotonic() + seconds

    def show(self, done: int, total: int | None) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._seconds
            of_total = f" of {total / 1e6:.0f}" if total else ""
            print(f"fetched {done / 1e6:.0f}{of_total} MB", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing stays open."""
