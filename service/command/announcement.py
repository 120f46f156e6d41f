"""What a server says of itself when it starts: where it listens, and how to talk to it.

On standard output, for people; the log, on standard error, has the same for machines. Only
here is a key ever shown: the first one, once.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import sys
from collections.abc import Container, Mapping

from ..config import Address, Settings
from ..keys import KeyRing

logger = logging.getLogger("diglot")


def first_key(keys: KeyRing | None) -> str | None:
    """Makes a key if there is none yet, so that a new server is of use to who started it."""
    return keys.add_first("first") if keys is not None else None


def listening(settings: Settings, http: Address | None, grpc: Address, key: str | None) -> None:
    models = ", ".join(model.name for model in settings.models)
    if http is not None:
        _say(f"  HTTP    {_url(settings, http)}/v1")
    _say(f"  gRPC    {_reachable(grpc)}")
    _say(f"  models  {models}")
    if key is not None:
        _say(f"\n  API key {key}  (shown only now; more with `diglot key add NAME`)")
    logger.info(
        "listening",
        extra={"http": str(http) if http else None, "grpc": str(grpc), "models": models},
    )
    if http is not None:
        _warn("HTTP", http, encrypted=settings.http.tls_cert is not None)
    _warn("gRPC", grpc, encrypted=settings.grpc.tls_cert is not None)
    if not settings.auth.enabled:
        logger.warning("auth is off: whoever reaches this server can use it")


def admin(address: Address) -> None:
    _say(f"  admin   http://{_reachable(address)}/metrics")
    logger.info("admin port", extra={"address": str(address)})
    if not address.is_loopback:
        logger.warning("the admin port listens on %s, and asks for no key", address)


def facade_listening(settings: Settings, http: Address) -> None:
    _say(f"  HTTP    {_url(settings, http)}/v1")
    _say(f"  from    {settings.facade.service}")
    logger.info("listening", extra={"http": str(http), "service": settings.facade.service})
    _warn("HTTP", http, encrypted=settings.http.tls_cert is not None)


def ready(
    settings: Settings,
    http: Address | None,
    key: str | None,
    seconds: float,
    missing: Mapping[str, str] | None = None,
) -> None:
    """`missing` are the models that cannot answer yet, each with the reason."""
    missing = missing or {}
    logger.info("ready", extra={"seconds": round(seconds, 2)})
    for name, reason in missing.items():
        logger.warning("a model is not ready yet", extra={"model": name, "reason": reason})
    if http is not None:
        _say(f"\nready in {seconds:.1f} s. Try:\n\n{_curl(settings, http, key, missing)}\n")
        for name, reason in missing.items():
            _say(f"not ready yet: {name} ({reason})")


def _curl(settings: Settings, http: Address, key: str | None, missing: Container[str] = ()) -> str:
    """A line that works whenever it is pasted: with the first key, or one that it makes."""
    names = [model.name for model in settings.models if "*" not in model.name]
    able = [name for name in names if name not in missing]
    question = {"role": "user", "content": "What is a prime number? Answer in one sentence."}
    body = {"model": [*able, *names, settings.models[0].name][0], "messages": [question]}
    words = ["curl", f"{_url(settings, http)}/v1/chat/completions"]
    if settings.http.tls_cert is not None:
        words += ["--cacert", str(settings.http.tls_cert)]
    words += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    line = shlex.join(words)
    if settings.auth.enabled:
        line += f' -H "Authorization: Bearer {key or _key_command(settings)}"'
    return line


def _key_command(settings: Settings) -> str:
    if settings.auth.keys_file is not None:
        return "$DIGLOT_API_KEY"  # that file is somebody else's to write
    program = sys.argv[0]
    if not os.access(program, os.X_OK):  # run with python -m
        program = f"{shlex.quote(sys.executable)} -m {__package__}"
    elif shutil.which("diglot") == program:
        program = "diglot"
    # Each time that it is pasted it makes a key: one is enough.
    return f"$({program} key add --replace --state {shlex.quote(str(settings.state))} curl)"


def _url(settings: Settings, http: Address) -> str:
    scheme = "http" if settings.http.tls_cert is None else "https"
    return f"{scheme}://{_reachable(http)}"


def _reachable(address: Address) -> Address:
    """Every interface is nowhere that one could connect to; this machine is."""
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared, not listened on
    return Address(anywhere.get(address.host, address.host), address.port)


def _warn(face: str, address: Address, *, encrypted: bool) -> None:
    if not encrypted and not address.is_loopback:
        logger.warning(
            "%s listens on %s without TLS: keys and conversations can be read on the way."
            " Set tls_cert and tls_key, or put a proxy with TLS before it",
            face,
            address,
        )


def _say(text: str) -> None:
    print(text, flush=True)
