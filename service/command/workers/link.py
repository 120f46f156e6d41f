"""What the parent and a worker tell each other: lines of JSON over a pair of sockets.

Nobody else can read them. So they carry what arguments and environments must not: the settings,
with their secrets, and the keys of the models' processes.

    to a worker      {"do": "serve", …}        the first line; see `worker.Order`
                     {"do": "process", …}      how it stands with a model's process
                     {"do": "reload", "id": …} is answered, as "metrics", "readiness" and
                                               "pulse" are
    to the parent    {"event": "listening"}, {"event": "ready", …}, {"event": "failed", …},
                     {"event": "returned", …}, {"event": "counted", …},
                     {"event": "answer", "id": …, …}
"""

from __future__ import annotations

import asyncio
import base64
import json
import pickle
import socket
from contextlib import suppress
from typing import Any

from ...config import Settings

Message = dict[str, Any]

_LONGEST = 2**26


class Link:
    """One end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Link:
        return cls(*await asyncio.open_unix_connection(sock=end, limit=_LONGEST))

    def send(self, **message: Any) -> None:
        """Nothing, if the other end is closed: whoever reads here learns of that."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def receive(self) -> Message | None:
        """The next message; None if there will be none."""
        try:
            line = await self._reader.readline()
        except OSError:
            return None
        message: Message | None = json.loads(line) if line.endswith(b"\n") else None
        return message

    async def close(self) -> None:
        """What was sent before still arrives, if anybody is there."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


def packed(settings: Settings) -> str:
    """Settings as they were read, so that no worker reads a file that has changed meanwhile."""
    return base64.b64encode(pickle.dumps(settings)).decode()


def unpacked(text: str) -> Settings:
    """Only what our own parent has packed comes here."""
    settings: Settings = pickle.loads(base64.b64decode(text))  # noqa: S301  # see above
    return settings
