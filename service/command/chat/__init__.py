"""`diglot chat`: a chat in the terminal, with any Diglot or OpenAI-compatible server."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import Failure

if TYPE_CHECKING:
    from ..arguments import Commands
    from .server import Server

_DEFAULT_URL = "http://127.0.0.1:8080"


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "chat",
        help="chat in the terminal",
        description="Chats in the terminal; answers appear as they are written. With standard"
        " input from a pipe, that is the one question, and only its answer is printed.",
        epilog="The API key comes from --key-file or the environment variable DIGLOT_API_KEY.",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--http", metavar="URL", default=_DEFAULT_URL, help=f"by HTTP (default: {_DEFAULT_URL})"
    )
    where.add_argument("--grpc", metavar="HOST:PORT", help="by gRPC")
    parser.add_argument("--model", metavar="NAME", help="default: the server's first")
    parser.add_argument("--system", metavar="TEXT", help="instructions that precede the chat")
    parser.add_argument("--key-file", metavar="FILE", type=Path, help="holds the API key")
    parser.add_argument(
        "--tls-ca",
        metavar="FILE",
        type=Path,
        help="certificates (PEM) that vouch for the server; gRPC is not encrypted without",
    )
    parser.add_argument(
        "--tls-cert", metavar="FILE", type=Path, help="our own certificate, for mTLS"
    )
    parser.add_argument("--tls-key", metavar="FILE", type=Path, help="its private key")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from .session import ask_once, converse

    server = _server(arguments)
    for stream in (sys.stdin, sys.stdout):
        # What a terminal cannot show, or sent garbled, must not end the chat.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # TextIO lacks it
    run = converse if sys.stdin.isatty() else ask_once
    return run(server, arguments.model, arguments.system)


def _server(arguments: argparse.Namespace) -> Server:
    key = _key(arguments.key_file)
    ca, certificate, private = (
        None if file is None else _read(file)
        for file in (arguments.tls_ca, arguments.tls_cert, arguments.tls_key)
    )
    if (certificate is None) != (private is None):
        raise Failure("--tls-cert and --tls-key go together")
    if arguments.grpc is not None:
        from .over_grpc import GrpcServer

        if certificate is not None and ca is None:
            raise Failure("--tls-cert needs --tls-ca beside it")
        return GrpcServer(arguments.grpc, key, ca, certificate, private)

    from .over_http import HttpServer, tls_context

    try:
        tls = tls_context(arguments.tls_ca, arguments.tls_cert, arguments.tls_key)
        return HttpServer(arguments.http, key, tls)
    except (ValueError, OSError) as error:
        raise Failure(str(error)) from error


def _key(file: Path | None) -> str | None:
    """Never an argument: those stand in every `ps`."""
    text = os.environ.get("DIGLOT_API_KEY", "") if file is None else _read(file).decode("latin-1")
    key = text.strip()
    if not (key.isascii() and (key.isprintable() or not key)):
        raise Failure("the API key holds more than one line of plain characters")
    if file is not None and not key:
        raise Failure(f"{file} is empty")
    return key or None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Failure(f"cannot read {file}: {error.strerror}") from error
