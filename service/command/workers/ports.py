"""The ports that the workers share: taken by the parent, before there are any.

For HTTP the parent listens, and all workers accept from its one socket: whoever has time takes the
next connection, and one that waits is lost with no worker. gRPC cannot be given a socket; there
each worker listens for itself (SO_REUSEPORT), and the kernel deals the connections out. The parent
keeps that port with a socket that does not listen.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

from ...config import Address
from ..arguments import cannot_listen

_ABSENT = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}

T = TypeVar("T")


class Ports:
    """Closed, they are free again, as far as the workers have left them."""

    def __init__(self, http: Address | None, grpc: Address | None) -> None:
        """None is a face that is not served. Raises Failure if a port cannot be had."""
        self._open = ExitStack()
        try:
            self.sockets = self._each(http, _listening) if http else []
            held = self._each(grpc, _held) if grpc else []
        except BaseException:
            self._open.close()
            raise
        self.http = _as_found(http, self.sockets)
        self.grpc = _as_found(grpc, held)

    def close(self) -> None:
        self._open.close()

    def _each(
        self, address: Address, bind: Callable[[int, tuple[str, int]], socket.socket]
    ) -> list[socket.socket]:
        """A socket for each address that the host has."""
        try:
            found = socket.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            sockets: list[socket.socket] = []
            for family, *_, place in found:
                port = sockets[0].getsockname()[1] if sockets else address.port
                try:
                    bound = bind(family, (str(place[0]), port))
                except OSError as error:
                    if error.errno in _ABSENT and len(found) > 1:
                        continue  # a name may have an IPv6 address where the machine has none
                    raise
                sockets.append(self._open.enter_context(bound))
            if not sockets:
                raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        except OSError as error:
            raise cannot_listen(address, error) from error
        return sockets


def _as_found(address: Address | None, sockets: list[socket.socket]) -> Address | None:
    """With the port in use, also if port 0 was asked for."""
    return Address(address.host, sockets[0].getsockname()[1]) if address else None


def _listening(family: int, place: tuple[str, int]) -> socket.socket:
    sock = _bound(family, place)
    try:
        sock.listen(socket.SOMAXCONN)
    except OSError:
        sock.close()
        raise
    return sock


def _held(family: int, place: tuple[str, int]) -> socket.socket:
    """Bound together with nobody else, and from then on with whoever sets SO_REUSEPORT."""
    with _bound(family, place) as alone:
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            # Without SO_REUSEADDR, with which another server could take a port that is bound
            # and on which no worker listens yet.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((place[0], alone.getsockname()[1]))
        except OSError:
            sock.close()
            raise
        return sock


def _bound(family: int, place: tuple[str, int]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Connections of an earlier server that has ended are no hindrance.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(place)
    except OSError:
        sock.close()
        raise
    return sock
