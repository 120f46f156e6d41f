"""`diglot config`: what a server would make of a configuration."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import Failure, add_config, table

if TYPE_CHECKING:
    from ..config import (
        AnthropicModel,
        DiglotModel,
        ModelSettings,
        Settings,
        SingleModel,
        UpstreamModel,
    )
    from ..config.faults import Fault
    from .arguments import Commands


def register(commands: Commands) -> None:
    parser = commands.add_parser("config", help="check a configuration", description=__doc__)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    check = actions.add_parser(
        "check",
        help="say what is wrong with a configuration",
        description="Checks the configuration as a server does at its start, files and"
        " environment variables included. Prints ok and a summary, or every fault.",
    )
    which = check.add_mutually_exclusive_group()
    which.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        type=Path,
        help="the configuration, in TOML; without one the defaults are checked",
    )
    add_config(which)
    check.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> int:
    from ..config import ConfigError, load

    file = arguments.file or arguments.config
    try:
        settings = load(file)
        if faults := list(_unknown_sources(settings, str(file))):
            raise ConfigError(faults)
    except ConfigError as error:
        raise Failure(f"the configuration cannot be used\n{error}") from error
    print("ok")
    print(summary(settings))
    return 0


def _unknown_sources(settings: Settings, file: str) -> Iterator[Fault]:
    """Of embedded models: what a server finds out when it fetches them."""
    from ..config import places_of
    from ..config.faults import Fault

    for index, model in enumerate(settings.models):
        for number, place in enumerate(places_of(model)):
            if place.kind != "embedded":
                continue
            from ..model_store import ModelStoreError
            from ..model_store.store import source_of

            try:
                source_of(place.source)
            except ModelStoreError as error:
                below = f".deployments[{number}]" if model.kind == "several" else ""
                yield Fault(file, f"models[{index}]{below}.source", str(error))


def summary(settings: Settings) -> str:
    """The settings that decide who can reach what."""
    http, grpc, store = settings.http, settings.grpc, settings.store
    mutual = ", clients show certificates" if grpc.tls_client_ca else ""
    pages = f", for pages of {', '.join(http.allowed_origins)}" if http.allowed_origins else ""
    rows = [
        ("state", str(settings.state)),
        ("http", f"{http.address}, {'TLS' if http.tls_cert else 'plain'}{pages}"),
        ("grpc", f"{grpc.address}, {'TLS' if grpc.tls_cert else 'plain'}{mutual}"),
        ("store", str(store.database(settings.state)) if store.enabled else "off"),
        ("auth", "API keys" if settings.auth.enabled else "off: everybody may call"),
        *(("model", line) for model in settings.models for line in _lines(model)),
    ]
    if settings.admin.address is not None:
        rows.append(("admin", f"{settings.admin.address}, without a key"))
    if settings.traces.endpoint is not None:
        rows.append(("trace", f"to {settings.traces.endpoint}"))
    if settings.default_model is not None:
        rows.append(("default", settings.default_model))
    return table(rows)


def _lines(model: ModelSettings) -> Iterator[str]:
    also = f", also called {', '.join(model.aliases)}" if model.aliases else ""
    also += f", else {model.fallback}" if model.fallback else ""
    if model.kind == "several":
        yield f"{model.name}: {len(model.deployments)} deployments{also}"
        for place in model.deployments:
            yield f"  {place.name}: {_described(place)}"
    else:
        yield f"{model.name}: {_described(model)}{also}"


def _described(place: SingleModel) -> str:
    match place.kind:
        case "upstream" | "anthropic":
            return f"{place.upstream_model} at {place.base_url}, {_key(place)}"
        case "diglot":
            secured = "TLS" if place.tls_ca else "plain"
            return f"{place.upstream_model} of diglot at {place.target}, {secured}, {_key(place)}"
        case "embedded":
            return f"embedded, from {place.source}"
        case "scripted":
            return "scripted"


def _key(place: UpstreamModel | AnthropicModel | DiglotModel) -> str:
    return "with a key" if place.api_key else "without a key"
