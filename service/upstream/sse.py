"""Reads server-sent events out of bytes as they arrive."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import UpstreamInvalid

LONGEST_EVENT = 16 * 2**20
"""Bytes that one event may take; a server that sends more is broken, or means harm."""


class EventReader:
    """Tells the data of each event, as the bytes come, in whatever pieces.

    Only `data` counts: comments, `event`, `id` and `retry` are passed over. Lines end in LF,
    CRLF or CR LF torn between two pieces; lone CR is not a line end, since no known server
    sends it, and JSON never holds one raw.
    """

    def __init__(self) -> None:
        # The beginning of a line, in pieces: put together once, when its end is there.
        self._rest: list[bytes] = []
        self._held = 0
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that end in this piece.

        Raises UpstreamInvalid for an event that is too long.
        """
        if b"\n" in piece:
            whole = b"".join((*self._rest, piece)) if self._rest else piece
            *lines, rest = whole.split(b"\n")
            self._rest = [rest] if rest else []
            self._held = len(rest)
        else:
            lines = []
            self._rest.append(piece)
            self._held += len(piece)
        if self._held + self._size > LONGEST_EVENT:
            raise UpstreamInvalid("The upstream sent an event that is too long.")
        events = []
        for line in lines:
            if line.startswith(b"data:"):
                self._size += len(line)  # also where it says nothing: it takes a place
                self._data.append(line[5:].strip())
            elif self._data and not line.strip():
                events.append(self._take())
        return events

    def end(self) -> Iterator[bytes]:
        """The event whose blank line an upstream left out when it closed, as some do.

        A torn line is dropped: half an event says nothing, and whoever needs it will miss it.
        """
        if self._data:
            yield self._take()

    def _take(self) -> bytes:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data = []
        self._size = 0
        return data
