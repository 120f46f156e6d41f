"""The gateways that are compared: Diglot, and its peers as far as they are installed.

Each stands before the same upstream, with as little to do as it can be told to: no retries, no
database, no callbacks. Only Diglot checks keys and accounts for usage. The bare proxy is no
gateway: it is what aiohttp itself takes on the machine at hand.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .http_load import HttpClient
from .instant_upstream import InstantUpstream
from .load import Tally
from .peer_packages import NODE, PORTKEY, VENV
from .servers import COMMAND, State, environment
from .ways import configuration

UNARY, STREAM = "unary", "burst"
"""The models that there are, by the shape of their answers."""
_BARE_PROXY = Path(__file__).with_name("bare_proxy.py")
_PATIENCE = 240.0
"""Seconds to start in."""
_GLANCE = 0.02


@dataclass(frozen=True)
class Gateway:
    """How one is started, to listen on a port."""

    name: str
    version: Callable[[], str | None]
    """None if it is not installed."""
    command: Callable[[State, InstantUpstream, int], tuple[str | Path, ...]]
    """May leave its configuration in the state's directory."""
    environment: Mapping[str, str] = field(default_factory=dict)
    headers: Callable[[InstantUpstream], dict[str, str]] = lambda _: {}
    """What it wants of requests."""


@dataclass(frozen=True)
class Running:
    """A gateway that answers."""

    gateway: Gateway
    name: str
    """With its version."""
    address: str
    key: str
    headers: Mapping[str, str]
    process: int
    start: float
    """Seconds from its start to its first answer."""

    def body(self, model: str) -> dict[str, Any]:
        question = {"role": "user", "content": "What is the capital of France, and why?"}
        return {"model": model, "messages": [question], "stream": model == STREAM}

    def client(self, model: str) -> HttpClient:
        return HttpClient(self.address, self.key, self.body(model), headers=self.headers)


@asynccontextmanager
async def running(
    gateway: Gateway, here: State, upstream: InstantUpstream
) -> AsyncIterator[Running | None]:
    """None if it is not installed, or does not start; that is told."""
    version = gateway.version()
    if version is None:
        print(f"{gateway.name} is not installed: left out", file=sys.stderr)
        yield None
        return
    port = _free_port()
    log = here.directory / f"{gateway.name}.log"
    began = time.perf_counter()
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *gateway.command(here, upstream, port),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment() | dict(gateway.environment),
            cwd=here.directory,
        )
    try:
        found = Running(
            gateway,
            f"{gateway.name} {version}",
            f"127.0.0.1:{port}",
            here.key,
            gateway.headers(upstream),
            process.pid,
            0,
        )
        try:
            async with asyncio.timeout(_PATIENCE):
                await _answers(found, process)
        except (TimeoutError, RuntimeError) as error:
            print(f"{gateway.name} does not start ({error}): left out", file=sys.stderr)
            print(log.read_text()[-1000:], file=sys.stderr)
            yield None
        else:
            yield Running(**(vars(found) | {"start": time.perf_counter() - began}))
    finally:
        await _stop(process)


async def _answers(found: Running, process: asyncio.subprocess.Process) -> None:
    """Returns when the gateway does."""
    while process.returncode is None:
        client = found.client(UNARY)
        try:
            await client.ask(Tally(), 0)
        except (OSError, RuntimeError):  # not listening, or not ready
            await asyncio.sleep(_GLANCE)
        else:
            return
        finally:
            await client.close()
    raise RuntimeError(f"ended with {process.returncode}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _diglot(here: State, upstream: InstantUpstream, port: int) -> tuple[str | Path, ...]:
    faces = ("--http", f"127.0.0.1:{port}", "--grpc", "127.0.0.1:0")
    file = configuration(here, upstream)
    return (*COMMAND, "serve", *faces, "--state", here.directory, "--config", file)


def _bare(here: State, upstream: InstantUpstream, port: int) -> tuple[str | Path, ...]:
    # -P: beside it there are modules called as libraries are.
    return sys.executable, "-P", _BARE_PROXY, str(port), f"http://{upstream.address}"


def _nginx(here: State, upstream: InstantUpstream, port: int) -> tuple[str | Path, ...]:
    file = here.directory / "nginx.conf"
    temporary = "".join(
        f"{kind}_temp_path {here.directory};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file.write_text(f"""
daemon off;
worker_processes 1;
pid {here.directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  {temporary}
  upstream instant {{ server {upstream.address}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://instant;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
""")
    return "nginx", "-c", file, "-p", here.directory


def _vllm_router(here: State, upstream: InstantUpstream, port: int) -> tuple[str | Path, ...]:
    return (
        VENV / "vllm-router",
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--worker-urls", f"http://{upstream.address}", "--policy", "round_robin"),
        *("--disable-retries", "--disable-circuit-breaker"),
    )


# Portkey changes the headers of what fetch() returned, which Node does not let it for streams:
# they would all be answered with 500.
_PORTKEY_SHIM = """
const fetched = globalThis.fetch;
globalThis.fetch = async (...given) => {
  const found = await fetched(...given);
  return new Response(found.body, { status: found.status, headers: new Headers(found.headers) });
};
"""


def _portkey(here: State, upstream: InstantUpstream, port: int) -> tuple[str | Path, ...]:
    shim = here.directory / "shim.cjs"
    shim.write_text(_PORTKEY_SHIM)
    server = PORTKEY / "build" / "start-server.js"
    return NODE, "--require", shim, server, "--headless", f"--port={port}"


def _litellm(here: State, upstream: InstantUpstream, port: int) -> tuple[str | Path, ...]:
    parameters = {
        "model": "openai/instant",
        "api_base": f"http://{upstream.address}/v1",
        "api_key": "none",
    }
    models = [{"model_name": name, "litellm_params": parameters} for name in (UNARY, STREAM)]
    settings: dict[str, Any] = {
        "model_list": models,
        "litellm_settings": {"num_retries": 0, "telemetry": False},
        "router_settings": {"num_retries": 0},
    }
    file = here.directory / "litellm.yaml"
    file.write_text(json.dumps(settings))  # which is YAML
    return (
        VENV / "litellm",
        *("--config", file, "--host", "127.0.0.1", "--port", str(port)),
        *("--num_workers", "1", "--telemetry", "False"),
    )


def _version_of_wheel(name: str) -> Callable[[], str | None]:
    def version() -> str | None:
        pattern = f"lib/python*/site-packages/{name}-*.dist-info"
        found = [file.name for file in VENV.parent.glob(pattern)]
        return found[0].removesuffix(".dist-info").rpartition("-")[2] if found else None

    return version


def _version_of_portkey() -> str | None:
    file = PORTKEY / "package.json"
    return str(json.loads(file.read_text())["version"]) if file.exists() else None


def _version_of_nginx() -> str | None:
    if shutil.which("nginx") is None:
        return None
    told = subprocess.run(["nginx", "-v"], stderr=subprocess.PIPE, text=True, check=True)
    return told.stderr.strip().rpartition("/")[2]


DIGLOT = Gateway("Diglot", partial(version, "diglot"), _diglot)
BARE = Gateway("Bare proxy, aiohttp", partial(version, "aiohttp"), _bare)
GATEWAYS = (
    DIGLOT,
    BARE,
    Gateway("nginx", _version_of_nginx, _nginx),
    Gateway("vllm-router", _version_of_wheel("vllm_router"), _vllm_router),
    Gateway(
        "Portkey",
        _version_of_portkey,
        _portkey,
        {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost", "NODE_ENV": "production"},
        lambda upstream: {
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"http://{upstream.address}/v1",
        },
    ),
    Gateway(
        "LiteLLM",
        _version_of_wheel("litellm"),
        _litellm,
        {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            # Without a key to compare it has less to do.
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        },
    ),
)
