"""HOST:PORT, as flags and the file spell it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_.-]{1,253}(?<!-)")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. `str()` gives what `parse` takes, which gRPC takes too.

    Address.parse("127.0.0.1:8080")  # this machine only
    Address.parse("0.0.0.0:8080")    # every IPv4 interface
    Address.parse("[::1]:0")         # IPv6, on a port that is free
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises ValueError, whose message says what to write instead."""
        if "://" in text:
            raise ValueError("is a URL; write HOST:PORT, without the scheme")
        host, colon, port = text.rpartition(":")
        if not colon:
            instead = f"127.0.0.1:{text}" if text.isdecimal() else f"{text or '127.0.0.1'}:8080"
            raise ValueError(f'is not HOST:PORT; write for example "{instead}"')
        if not host:
            raise ValueError(f'has no host; "0.0.0.0:{port}" is every IPv4 interface')
        if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
            raise ValueError("does not end in a port from 0 to 65535")
        return cls(_checked_host(host), int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            return self.host.lower() == "localhost"
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _checked_host(host: str) -> str:
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if bracketed or ":" in bare:
        try:
            ipaddress.IPv6Address(bare)
        except ValueError:
            raise ValueError("has no valid IPv6 address before the port") from None
        if not bracketed:
            raise ValueError(f'needs brackets around IPv6; write "[{bare}]:PORT"')
    elif re.fullmatch("[0-9.]+", bare):
        try:
            ipaddress.IPv4Address(bare)
        except ValueError:
            raise ValueError("has no valid IPv4 address before the port") from None
    elif not _HOST_NAME.fullmatch(bare):
        raise ValueError("has no valid host name before the port")
    return bare
