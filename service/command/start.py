"""`diglot serve`, `service` and `facade`: the flags; what they start stands in serve.py."""

from __future__ import annotations

import argparse
import os
from functools import partial
from typing import TYPE_CHECKING

from .arguments import Failure, add_config, add_state, address

if TYPE_CHECKING:
    from .arguments import Commands

# The tables of the file that each does not use, and which it must not stumble over.
_UNUSED = {
    "serve": {"facade"},
    "service": {"facade", "http"},
    "facade": {"models", "grpc", "state", "store"},
}


def register(commands: Commands) -> None:
    serve = commands.add_parser(
        "serve",
        help="serve gRPC and HTTP, in one process",
        description="Serves models on both faces, gRPC and HTTP, in one process.",
    )
    service = commands.add_parser(
        "service",
        help="serve gRPC only",
        description="Serves models over gRPC only; facades in other processes speak HTTP.",
    )
    facade = commands.add_parser(
        "facade",
        help="serve HTTP, from a service elsewhere",
        description="Serves OpenAI's API over HTTP, answered by a service over gRPC.",
    )
    for parser in (serve, facade):
        parser.add_argument(
            "--http",
            metavar="HOST:PORT",
            type=address,
            help="where to listen for HTTP (default: 127.0.0.1:8080)",
        )
    for parser in (serve, service):
        parser.add_argument(
            "--grpc",
            metavar="HOST:PORT",
            type=address,
            help="where to listen for gRPC (default: 127.0.0.1:50051)",
        )
        parser.add_argument(
            "--model",
            metavar="MODEL",
            help="serve this model and no other: one that the configuration names, a name of the"
            " catalogue, a GGUF file, URL or Hugging Face name (org/repo:quant), or scripted",
        )
        add_state(parser)
    facade.add_argument(
        "--service",
        metavar="TARGET",
        help="the service, as a gRPC target (default: 127.0.0.1:50051)",
    )
    for name, parser in (("serve", serve), ("service", service), ("facade", facade)):
        add_config(parser)
        parser.add_argument(
            "--workers",
            metavar="N",
            type=int,
            help="serve in N processes on the same ports (default: in this one)",
        )
        parser.add_argument(
            "--admin",
            metavar="HOST:PORT",
            type=address,
            help="where to listen for /metrics, /healthz and /readyz, without a key (default:"
            " nowhere)",
        )
        parser.add_argument(
            "--log-format",
            choices=("text", "json"),
            help="lines for people or for machines (default: text)",
        )
        parser.set_defaults(run=_run, command=name)


def _run(arguments: argparse.Namespace) -> int:
    from ..config import ConfigError, Flags, load
    from ..keys import KeyRingError
    from ..logs import configure

    given = vars(arguments)
    flags = Flags(**{key: given[key] for key in Flags.__slots__ if key in given})
    read = partial(load, arguments.config, flags, without=_UNUSED[arguments.command])
    try:
        settings = read()
    except ConfigError as error:
        raise Failure(f"the configuration cannot be used\n{error}") from error
    configure(settings.log.format, settings.log.level)
    # We start programs but never fork to go on in Python, which is all that grpc's handlers are
    # for; they would only say so in the log. Read when grpc is imported.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    reread = read if arguments.config else None
    try:
        if settings.workers > 1:
            from .workers import run_workers

            return run_workers(arguments.command, settings, reread)
        from .serve import run_facade, run_serve, run_service

        match arguments.command:
            case "serve":
                return run_serve(settings, reread)
            case "service":
                return run_service(settings, reread)
            case _:
                return run_facade(settings, reread)
    except KeyRingError as error:
        raise Failure(str(error)) from error
