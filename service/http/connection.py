"""One connection to a server, for one request at a time."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from .reply import Broken, End, Reply


class Connection(asyncio.Protocol):
    """Over TCP, or TLS."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        keep: Callable[[Connection], None] | None,
        lost: Callable[[Connection], None],
    ) -> None:
        """`keep` is given it whenever it can have another request, and without that it has one
        only. `lost` is told of its end."""
        self.idle_since = 0.0
        """When it became free, in the loop's time."""
        self._loop = loop
        self._keep = keep
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._reply: Reply | None = None

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, request: bytes) -> Reply:
        """Sends the request, and returns what will be its answer. Raises Broken."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise Broken("it hung up, or spoke first")
        self._reply = Reply(self, self._loop)
        transport.write(request)
        return self._reply

    def free(self) -> None:
        transport = self._transport
        # Who answers before it has heard all may not listen to the rest, or take it for the next
        # request.
        if self._keep is None or transport is None or transport.get_write_buffer_size():
            self.close()
        else:
            self._reply = None
            self._keep(self)

    def reset(self) -> None:
        """Ends it, and what the server does for it: after an orderly close the server's next write
        would still succeed, and it would generate until the one after that."""
        self._reply = None
        transport, self._transport = self._transport, None
        if transport is None:
            return
        if (sock := transport.get_extra_info("socket")) is not None:
            with suppress(OSError):  # closed already
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def close(self) -> None:
        """Whoever waits for an answer will see it break off."""
        transport, self._transport = self._transport, None
        if transport is not None and transport.get_write_buffer_size():
            transport.abort()  # or it would wait for who does not read
        elif transport is not None:
            transport.close()
        if self._reply is not None:
            self._reply.fail(Broken("closed"))

    def pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self.open:
            assert self._transport is not None
            self._transport.resume_reading()

    # What the loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._reply is not None:
            self._reply.feed(data)
        else:
            self.close()  # nobody asked

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._lost(self)
        if self._reply is not None:
            self._reply.fail(End("it hung up") if error is None else Broken("it broke off"))
