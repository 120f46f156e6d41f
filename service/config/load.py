"""From the file, the flags and the environment to Settings."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from ..state import absolute
from .address import Address
from .checks import is_path
from .faults import ConfigError, Fault, Place, faults_of
from .settings import Settings


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line says; None where it says nothing. A flag wins over the file."""

    http: str | Address | None = None
    grpc: str | Address | None = None
    state: str | None = None
    model: str | None = None
    log_format: str | None = None
    service: str | None = None
    admin: str | Address | None = None
    workers: int | None = None


def load(
    file: Path | None = None,
    flags: Flags | None = None,
    environ: Mapping[str, str] = os.environ,
    without: Collection[str] = (),
) -> Settings:
    """Everything that is wrong, at once, in one ConfigError; else the settings.

    `without` names tables that the command does not use, and which are not looked at: a
    facade on a machine of its own has neither the service's secrets nor its certificates.
    """
    flags = flags or Flags()
    name = str(file) if file else "configuration"
    table = {
        key: value for key, value in (_read(file) if file else {}).items() if key not in without
    }
    origins: dict[Place, str] = {}

    def override(origin: str, section: str, key: str, value: object) -> None:
        if value is None:
            return
        inner = table.setdefault(section, {})
        if isinstance(inner, dict):  # else the file's own fault is what must be said
            inner[key] = value
            origins[(section, key)] = origin

    override("--http", "http", "address", flags.http)
    override("--grpc", "grpc", "address", flags.grpc)
    override("--admin", "admin", "address", flags.admin)
    override("--log-format", "log", "format", flags.log_format)
    override("--service", "facade", "service", flags.service)
    if flags.workers is not None:
        table["workers"] = flags.workers
        origins[("workers",)] = "--workers"
    variable = environ.get("DIGLOT_STATE") or None
    state = flags.state or variable
    if state is not None:
        table["state"] = absolute(state, Path.cwd())
        origins[("state",)] = "--state" if flags.state else "DIGLOT_STATE"

    chosen = None
    if flags.model is not None:
        if flags.model in _names(table):
            chosen = flags.model
        else:
            table["models"] = [model_of(flags.model)]
            table.pop("default_model", None)
            origins[("models",)] = "--model"
    base = file.absolute().parent if file else Path.cwd()
    context = {"base": base, "environ": environ, "without": without}
    try:
        settings = Settings.model_validate(table, context=context)
    except ValidationError as error:
        raise ConfigError(faults_of(error.errors(), name, origins)) from None
    if chosen is None:
        return settings
    only = tuple(
        model.model_copy(update={"fallback": None})
        for model in settings.models
        if model.name == chosen
    )
    default = chosen if settings.default_model == chosen else None
    return settings.model_copy(update={"models": only, "default_model": default})


def model_of(source: str) -> dict[str, Any]:
    """What `--model` stands for: the table that a file would have for it."""
    if source == "scripted":
        return {"kind": "scripted"}
    name = source
    if is_path(source):
        source = str(absolute(source, Path.cwd()))
        name = Path(source).stem
    elif "://" in source:
        name = PurePosixPath(urlsplit(source).path).stem
    return {"kind": "embedded", "name": name, "source": source}


def _names(table: Mapping[str, Any]) -> set[str]:
    models = table.get("models")
    if not isinstance(models, list):
        return set()
    return {str(each.get("name")) for each in models if isinstance(each, dict)}


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        text = f"cannot read it: {error.strerror}"
    except UnicodeDecodeError:
        text = "is not UTF-8 text"
    except tomllib.TOMLDecodeError as error:
        text = f"is not TOML: {error}"
    raise ConfigError([Fault(str(file), "", text)])
