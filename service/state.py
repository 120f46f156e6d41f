"""Where Diglot keeps what must outlive it: keys, models and completions, under one directory.

Apart from the rest of the configuration, because the commands that only touch the state
should need no more of it: the shell that runs `diglot key add` rarely has the secrets and
certificates of the server whose file it names.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

KEYS_FILE = "keys.json"
MODELS_DIRECTORY = "models"
STORE_FILE = "completions.db"


def state_directory(
    flag: str | None = None,
    config: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Path:
    """--state, else DIGLOT_STATE, else the file's `state`, else the default.

    Raises OSError or ValueError if the file cannot be read.
    """
    chosen = flag or environ.get("DIGLOT_STATE")
    if chosen:
        return absolute(chosen, Path.cwd())
    if config is not None:
        named = tomllib.loads(config.read_text(encoding="utf-8")).get("state")
        if isinstance(named, str) and named:
            return absolute(named, config.parent)
        if named is not None:
            raise ValueError(f"{config}: state: found {named!r}, but it must be a path, in quotes")
    return default_state_directory(environ)


def keys_file(state: Path, config: Path | None = None) -> Path:
    """The file's `auth.keys_file`, else the one in the state directory.

    Raises OSError or ValueError if the file cannot be read.
    """
    if config is not None:
        auth = tomllib.loads(config.read_text(encoding="utf-8")).get("auth")
        named = auth.get("keys_file") if isinstance(auth, dict) else None
        if isinstance(named, str) and named:
            return absolute(named, config.parent)
        if named is not None:
            raise ValueError(f"{config}: auth.keys_file: found {named!r}; it must be a path")
    return state / KEYS_FILE


def default_state_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """$XDG_STATE_HOME/diglot or ~/.local/state/diglot; an account without a home has /var/lib."""
    base = environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(base):  # the specification says to ignore a relative one
        return Path(base) / "diglot"
    try:
        return Path.home() / ".local/state/diglot"
    except RuntimeError:
        return Path("/var/lib/diglot")


def absolute(path: str, base: Path) -> Path:
    """With ~ spelt out, and counted from `base` if relative."""
    try:
        expanded = Path(path).expanduser()
    except RuntimeError:  # ~nobody: then it is a name like any other
        expanded = Path(path)
    # Links stay as they are: where they point may change while a server runs, as it does when
    # Kubernetes updates the files of a Secret.
    return Path(os.path.abspath(base / expanded))
