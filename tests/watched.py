"""A Diglot with an admin port, what its log says of calls, and what Prometheus reads of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from account_log import AccountLog, account_log
from faces import GRPC, HTTP, Faces, Seen, faces
from scrape import Scrape, scrape

from diglot.service.admin import AdminServer
from diglot.service.command.admin import Exposition

SCRIPTED = """
admin.address = "127.0.0.1:0"
[[models]]
kind = "scripted"
name = "m"
aliases = ["other"]
"""
FACES = pytest.mark.parametrize("face", [HTTP, GRPC])


@dataclass
class Watched:
    faces: Faces
    log: AccountLog
    url: str

    async def scrape(self) -> Scrape:
        return await scrape(f"{self.url}/metrics")

    async def accounted(self, name: str) -> tuple[dict[str, Any], Scrape]:
        """The line on the call of this id, and what is read once it is there."""
        return await self.log.line(name), await self.scrape()

    async def ask(self, face: str, name: str, **asked: Any) -> Seen:
        """`name` becomes the call's id."""
        return await self.faces.ask(face, headers={"x-request-id": name}, **asked)


@asynccontextmanager
async def watched(directory: Path, config: str = SCRIPTED) -> AsyncIterator[Watched]:
    async with faces(directory, config) as served:
        told = Exposition(served.service.telemetry, served.service)

        async def ready() -> str | None:
            return None

        admin = AdminServer(told.gather, ready)
        port = await admin.start("127.0.0.1", 0)
        try:
            with account_log() as log:
                yield Watched(served, log, f"http://127.0.0.1:{port}")
        finally:
            await admin.stop()
