"""A completion that an upstream gives in one piece: when it is asked for so, and how it is read, as
a stream's only event.

What a stream adds up its completion says at once, under other names; and so it can be held to more:
whose calls are whose, and how many choices there are, is no question here.
"""

from __future__ import annotations

from typing import Any

from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from ..call import Call
from ..errors import UpstreamInvalid, UpstreamUnavailable
from .surrogates import parsed

LONGEST = 32 * 2**20
"""Bytes that one may take, as gRPC messages may by default: some eight minutes of sound."""


def in_one_piece(request: CreateChatCompletionRequest, call: Call, *, always: bool) -> bool:
    """Whether an upstream is asked so: `always` where its configuration says so, else only for
    what OpenAI refuses to stream. Sound it streams only as it is played."""
    return call.whole and (
        always or (request.HasField("audio") and request.audio.format != "pcm16")
    )


def read(body: bytes) -> dict[str, Any]:
    """The one event of a stream that says the same: all of it, each choice with its end.

    Raises UpstreamUnavailable for what broke off, and UpstreamInvalid for what is no completion.
    """
    try:
        value = parsed(body)
    except ValueError as error:
        # Where only the connection's end is the body's, there is no other way to tell.
        if body.strip() and "EOF while parsing" in str(error):
            raise UpstreamUnavailable(
                "The upstream broke off in the middle of its answer."
            ) from None
        raise UpstreamInvalid("The upstream answered with something else than JSON.") from None
    if not isinstance(value, dict):
        raise UpstreamInvalid("The upstream answered with something else than an object.")
    if isinstance(choices := value.get("choices"), list) and not value.get("error"):
        said = [_said(place, choice) for place, choice in enumerate(choices)]
        said.sort(key=lambda choice: choice["index"])
        if [choice["index"] for choice in said] != [*range(len(said))]:
            raise UpstreamInvalid("The upstream sent a choice with an impossible index.")
        value["choices"] = said
    return value


def _said(place: int, choice: Any) -> dict[str, Any]:
    if not isinstance(choice, dict) or not isinstance(message := choice.get("message"), dict):
        raise UpstreamInvalid("The upstream sent a choice without a message.")
    if choice.get("index") is None:
        choice["index"] = place
    elif type(choice["index"]) is not int:
        raise UpstreamInvalid("The upstream sent a choice with an impossible index.")
    return choice | {"delta": message, "finish_reason": choice.get("finish_reason") or "stop"}
