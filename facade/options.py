"""What can be chosen about the HTTP face."""

from __future__ import annotations

from dataclasses import dataclass, fields

from aiohttp import web


@dataclass(frozen=True, slots=True)
class FacadeOptions:
    """The choices, each with the reason of its default. Checked when made."""

    require_key: bool = True
    """Whether requests without a Bearer key are refused before the service is asked. Turn
    it off only together with the service's own authentication."""
    timeout: float = 600.0
    """Seconds that a call may take, streams included: as long as OpenAI's SDKs wait."""
    headers_timeout: float = 30.0
    """Seconds that a new connection has for the first request's headers: they are one packet
    or two."""
    body_timeout: float = 60.0
    """Seconds that a body may take to arrive, and one more for each 64 KiB of it: a phone's
    uplink is faster."""
    write_timeout: float = 60.0
    """Seconds that a client may leave what was sent to it unread. A generation ends with it."""
    max_body: int = 32 * 2**20
    """Bytes of a request's body, after decompression. Room for a few images."""
    keepalive: float = 10.0
    """Seconds of silence after which a stream sends a comment. Proxies drop a silent
    connection after 15 s at the earliest."""
    readiness_timeout: float = 2.0
    """Seconds that /readyz waits for the service's health."""
    allowed_origins: tuple[str, ...] = ()
    """Web pages that may call from a browser: "https://app.example", as browsers write it, or "*"
    for all."""

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self) if field.type in ("float", "int")):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, not {getattr(self, name)!r}")


OPTIONS = web.AppKey("options", FacadeOptions)
"""Those of an application."""
