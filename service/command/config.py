"""`diglot config`: what a server would make of a configuration."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .arguments import Failure, add_config, table

if TYPE_CHECKING:
    from ..config import ModelSettings, Settings
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
    add_config(check)
    check.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> int:
    from ..config import ConfigError, load

    try:
        settings = load(arguments.config)
    except ConfigError as error:
        raise Failure(f"the configuration cannot be used\n{error}") from error
    print("ok")
    print(summary(settings))
    return 0


def summary(settings: Settings) -> str:
    """The settings that decide who can reach what."""
    http, grpc = settings.http, settings.grpc
    mutual = ", clients show certificates" if grpc.tls_client_ca else ""
    rows = [
        ("state", str(settings.state)),
        ("http", f"{http.address}, {'TLS' if http.tls_cert else 'plain'}"),
        ("grpc", f"{grpc.address}, {'TLS' if grpc.tls_cert else 'plain'}{mutual}"),
        ("auth", "API keys" if settings.auth.enabled else "off: everybody may call"),
        *(("model", _described(model)) for model in settings.models),
    ]
    return table(rows)


def _described(model: ModelSettings) -> str:
    match model.kind:
        case "upstream":
            key = "with a key" if model.api_key else "without a key"
            return f"{model.name}: {model.upstream_model} at {model.base_url}, {key}"
        case "embedded":
            return f"{model.name}: embedded, from {model.source}"
        case "scripted":
            return f"{model.name}: scripted"
