"""wrk, a load generator in C: it costs little, where a client of ours would be what is measured."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCRIPT = """
wrk.method = "POST"
wrk.body = [==[{body}]==]
{headers}
done = function(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('{{"answers": %d, "failed": %d, "seconds": %f, "p50": %f, "p99": %f}}\\n',
    summary.requests, failed, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


@dataclass(frozen=True)
class Taken:
    """What it found. Percentiles are in milliseconds."""

    answers: int
    failed: int
    seconds: float
    p50: float
    p99: float


def available() -> bool:
    return shutil.which("wrk") is not None


async def ask_on(
    url: str, headers: Mapping[str, str], body: dict[str, Any], *, askers: int, seconds: float
) -> Taken:
    """Keeps so many questions under way."""
    spelt = "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in headers.items())
    with tempfile.TemporaryDirectory(prefix="diglot-bench-") as directory:
        script = Path(directory) / "ask.lua"
        script.write_text(_SCRIPT.format(body=json.dumps(body), headers=spelt))
        # It counts in whole seconds.
        lasting = f"{max(1, round(seconds))}s"
        process = await asyncio.create_subprocess_exec(
            *("wrk", "-t1", f"-c{askers}", f"-d{lasting}", "--timeout", "60s"),
            *("--script", script, url),
            stdout=PIPE,
        )
        try:
            out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    if process.returncode:
        raise RuntimeError(f"wrk exited with {process.returncode}")
    return Taken(**json.loads(out.splitlines()[-1]))
