"""Halves of characters at the ends of what blocks say: see upstream/surrogates.py.

Arguments of calls are JSON themselves. A half that is an escape within them is six letters more of
the text; here, too, only those count that the event spells.
"""

from __future__ import annotations

import json
from typing import Any

from ..errors import UpstreamInvalid
from ..extra import Json
from ..upstream.surrogates import parsed, parted

_DELTAS = {
    "text": "text_delta",
    "thinking": "thinking_delta",
    "partial_json": "input_json_delta",
}
_PARTING = {"content_block_start", "content_block_stop", "message_delta", "message_stop"}


class Halves:
    """The one whose other has not come yet, if there is one: blocks come one after another."""

    def __init__(self) -> None:
        self._half = ""
        self._place: tuple[Any, str] = (None, "")

    def __bool__(self) -> bool:
        return bool(self._half)

    def read(self, data: bytes) -> list[Any]:
        """An event in which halves have come, or for which one waits, with what comes together
        put together; before it, if one has waited in vain, the event that it comes to.

        Raises UpstreamInvalid for what is not JSON.
        """
        try:
            event, cut = parsed(data), json.loads(data)
        except ValueError:
            raise UpstreamInvalid("The upstream sent an event that is not JSON.") from None
        if not isinstance(event, dict):
            return [event]
        body, place = _text_in(event)
        cut_body, (_, key) = _text_in(cut)
        if not body and event.get("type") not in _PARTING:
            return [event]
        lost = [] if not self._half or (body and place == self._place) else [self._give_up()]
        if body:
            body[key], half = parted(self._half + cut_body[key])
            self._half, self._place = half, place
        return [*lost, event]

    def _give_up(self) -> Json:
        index, key = self._place
        self._half = ""
        delta = {"type": _DELTAS[key], key: "\ufffd"}
        return {"type": "content_block_delta", "index": index, "delta": delta}


def _text_in(event: Json) -> tuple[Json, tuple[Any, str]]:
    """What a block says that grows: the object that it stands in, empty if there is none, and the
    block's index and the text's key."""
    for body in (event.get("delta"), event.get("content_block")):
        if isinstance(body, dict):
            for key in _DELTAS:
                if isinstance(text := body.get(key), str) and text:
                    return body, (event.get("index"), key)
    return {}, (None, "")
