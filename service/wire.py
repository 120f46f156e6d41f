"""Messages as they come in by gRPC: what is none is refused, like anything else that is wrong.

grpc's own answer to bytes that are no message is UNKNOWN, with the parser's exception for a text,
and a traceback in the log. It is the caller's fault, and any stranger could cause it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, cast

import grpc
from google.protobuf.message import DecodeError

from .errors import InvalidValue


class Unreadable:
    """Stands for a request that could not be read. Whoever looks at it refuses the call; so it is
    refused where calls are, after the key was checked, and other calls have nothing to pay."""

    def __getattr__(self, name: str) -> NoReturn:
        raise InvalidValue("The request is not a message of the contract: its bytes are corrupt.")


def wire(server: grpc.aio.Server) -> grpc.aio.Server:
    """The server, for the `add_…_to_server` of generated code, and for nothing else."""
    return cast(grpc.aio.Server, _Wire(server))


class _Wire:
    """What generated code needs of a server."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Of no use: these are closed. The same come by the other method."""

    def add_registered_method_handlers(self, service: str, methods: Mapping[str, Any]) -> None:
        reading = {
            name: method._replace(request_deserializer=_tolerant(method.request_deserializer))
            for name, method in methods.items()
        }
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, reading),)
        )


def _tolerant(parse: Callable[[bytes], object]) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        try:
            return parse(data)
        except DecodeError:
            return Unreadable()

    return read
