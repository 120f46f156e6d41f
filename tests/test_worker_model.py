"""Workers that share one embedded model."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

from processes import children_of, is_alive
from serving_process import Server, serving
from workers import SCRIPTED, command, over_http, until_both_answered, workers_of, write

EMBEDDED = """
[[models]]
name = "small"
kind = "embedded"
source = "{source}"
context_tokens = 512
parallel = 2
threads = 1
"""


async def test_they_share_one_model(tmp_path: Path, model_path: Path) -> None:
    """Which outlives a worker, is back for all of them when it dies, and goes with the parent."""
    file = write(tmp_path, EMBEDDED.format(source=model_path))

    async def answered(server: Server) -> None:
        for answer in await until_both_answered(
            server, lambda: over_http(server, "Hi", model="small", max_tokens=2)
        ):
            assert json.loads(answer)["choices"][0]["message"]["content"]

    def models(server: Server) -> list[int]:
        return [each for each in children_of(server.process.pid) if ".child" in command(each)]

    async with serving("--config", str(file)) as server:
        (model,) = models(server)
        await answered(server)
        os.kill(workers_of(server)[0], signal.SIGKILL)
        await server.logged("a worker ended")
        await answered(server)
        assert models(server) == [model]
        os.kill(model, signal.SIGKILL)
        await server.logged("the model is ready")
        (again,) = models(server)
        assert again != model
        await answered(server)
        write(tmp_path, SCRIPTED)
        server.process.send_signal(signal.SIGHUP)
        await server.logged("the configuration is reloaded")
        while is_alive(again):
            await asyncio.sleep(0.01)
        write(tmp_path, EMBEDDED.format(source=model_path))
        server.process.send_signal(signal.SIGHUP)
        await server.logged("the configuration is reloaded")
        await answered(server)
        left = children_of(server.process.pid)
        assert len(left) == 3
        server.process.kill()
        while any(map(is_alive, left)):
            await asyncio.sleep(0.01)
