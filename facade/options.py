"""What can be chosen about the HTTP face."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FacadeOptions:
    """The choices, each with the reason of its default. Checked when made."""

    require_key: bool = True
    """Whether requests without a Bearer key are refused before the service is asked. Turn
    it off only together with the service's own authentication."""
    timeout: float = 600.0
    """Seconds that a call may take, streams included: as long as OpenAI's SDKs wait."""
    max_body: int = 32 * 2**20
    """Bytes of a request's body, after decompression. Room for a few images."""
    keepalive: float = 10.0
    """Seconds of silence after which a stream sends a comment. Proxies drop a silent
    connection after 15 s at the earliest."""
    readiness_timeout: float = 2.0
    """Seconds that /readyz waits for the service's health."""

    def __post_init__(self) -> None:
        for name in ("timeout", "max_body", "keepalive", "readiness_timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, not {getattr(self, name)!r}")
