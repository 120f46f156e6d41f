"""Origins of web pages, as browsers write them: https://app.example, or * for all."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from .checks import fault, quoted

_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]*:[0-9a-f:.]*")
# Browsers leave these out.
_PORTS = {"http": 80, "https": 443}


def _checked(text: str) -> str:
    """Compared letter by letter with what browsers send: what is written otherwise never fits."""
    written = "*" if text == "*" else _written(text)
    if written is None:
        raise fault(
            f'found {quoted(text)}, which is no origin; write it like "https://app.example", or "*"'
            " for all"
        )
    if written != text:
        raise fault(f'found {quoted(text)}; write it as browsers do: "{written}"')
    return text


def _written(text: str) -> str | None:
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not parts.scheme or not host or not _HOST.fullmatch(host) or "@" in parts.netloc:
        return None
    name = f"[{host}]" if ":" in host else host
    named_port = "" if port is None or port == _PORTS.get(parts.scheme) else f":{port}"
    return f"{parts.scheme}://{name}{named_port}"


Origin = Annotated[str, AfterValidator(_checked)]
