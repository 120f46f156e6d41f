"""Reads server-sent events out of bytes as they arrive."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import UpstreamInvalid

# As numbers: bytes are searched for those without being asked first what they are.
_LF, _CR = b"\n\r"

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
        if _LF not in piece:
            self._hold(piece)
            return []
        whole = b"".join((*self._rest, piece)) if self._rest else piece
        self._rest.clear()
        self._held = 0
        events: list[bytes] = []
        if not self._data and _CR not in whole:
            # As nearly all servers send nearly all events: a line and a blank one.
            *blocks, whole = whole.split(b"\n\n")
            for block in blocks:
                if block.startswith(b"data:") and _LF not in block:
                    if data := block[5:].strip():
                        events.append(data)
                else:
                    self._read((*block.split(b"\n"), b""), events)
            if not whole:
                return events
        *lines, rest = whole.split(b"\n")
        self._read(lines, events)
        if rest:
            self._hold(rest)
        return events

    def _hold(self, piece: bytes) -> None:
        self._rest.append(piece)
        self._held += len(piece)
        self._check()

    def _check(self) -> None:
        if self._held + self._size > LONGEST_EVENT:
            raise UpstreamInvalid("The upstream sent an event that is too long.")

    def _read(self, lines: Iterable[bytes], events: list[bytes]) -> None:
        for line in lines:
            if line.startswith(b"data:"):
                self._size += len(line)  # also where it says nothing: it takes a place
                self._data.append(line[5:].strip())
            elif self._data and not line.strip():
                events += self._take()
        self._check()

    def end(self) -> list[bytes]:
        """The event whose blank line an upstream left out when it closed, as some do.

        A torn line is dropped: half an event says nothing, and whoever needs it will miss it.
        """
        return self._take() if self._data else []

    def _take(self) -> list[bytes]:
        """The event; none if it says nothing, as where servers only show that they are there."""
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data = []
        self._size = 0
        return [data] if data.strip() else []
