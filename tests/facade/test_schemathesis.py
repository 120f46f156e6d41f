"""Whatever the OpenAPI document allows, or forbids: the server does what the document says.

schemathesis makes the requests, good and bad, for every operation, and holds each answer
against the document: its status, headers, media type and body, events of streams included.
A status of 5xx is a fault, whatever was asked.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from openai import AsyncOpenAI
from serving_process import serving

HERE = Path(__file__).parent
# One each for those operations that take an id: get, update, delete, messages.
KEPT = 4


async def test_the_server_does_what_the_document_says(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "state"))
    async with serving("--model", "scripted", *state) as server:
        async with AsyncOpenAI(base_url=server.http, api_key=server.key) as sdk:
            stored = [
                await sdk.chat.completions.create(
                    model="scripted", messages=[{"role": "user", "content": "hi"}], store=True
                )
                for _ in range(KEPT)
            ]
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("st"),
            *("--config-file", HERE / "schemathesis.toml", "run"),
            server.http.removesuffix("/v1") + "/openapi.json",
            *("--header", f"Authorization: Bearer {server.key}", "--no-color"),
            *("--report-json-path", "report.json"),
            cwd=tmp_path,
            env={
                **os.environ,
                "SCHEMATHESIS_HOOKS": str(HERE / "schemathesis_hooks.py"),
                "STORED": ",".join(one.id for one in stored),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, out.decode()
    report = json.loads((tmp_path / "report.json").read_text())
    assert {phase["status"] for phase in report["phases"].values()} == {"success"}
    # It was no idle talk: every operation was asked, and said yes to something.
    rates = report["valid_rates"]
    assert len(rates) == report["operations"]["total"] == report["operations"]["tested"]
    for operation, phases in rates.items():
        assert sum(phase["accepted"] for phase in phases.values()) > 0, operation
