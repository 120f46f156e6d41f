"""Which deployment gets a request: the least busy one, or the one that knows the conversation.

An engine that has read the beginning of a prompt before need not read it again: long prompts
then begin to be answered in a tenth of the time. So the requests of one conversation go to one
deployment, by rendezvous hashing: each conversation has an order of its own in which it
prefers the deployments, and those that come or go change nothing between the others. Load
is bounded (Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads"): none
takes more than LOAD times its share of what is in flight, and what is beyond goes to the next
in the conversation's order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b

from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.message_pb2 import ROLE_USER, ContentPart, Message

from .deployment import Deployment

LOAD = 1.25
LONG = 1000
"""Characters from which on a prompt is worth finding again: some 250 tokens, a fraction of a
second anywhere. OpenAI itself begins to keep prompts at 1024 tokens."""

_MOST = 4096
# Characters of a piece of a message that count: an image need not be hashed whole.


class Conversation:
    """What makes a request one of a conversation.

    That is its `prompt_cache_key`; else the messages up to the user's first. They stay the
    same while the conversation grows, and tell conversations apart that share their
    instructions. Fewer would send all users of one system prompt to one deployment; and each
    deployment has read that after its first conversation.
    """

    def __init__(self, request: CreateChatCompletionRequest) -> None:
        self._request = request

    @cached_property
    def is_kept(self) -> bool:
        """Whether it is worth to be sent where its beginning is known. What is short is better
        off where the least is going on."""
        if self._request.prompt_cache_key:
            return True
        size = 0
        for message in self._request.messages:
            size += len(message.content)
            for part in message.parts:
                if not part.HasField("text"):
                    return True
                size += len(part.text.text)
            if size >= LONG:
                return True
        return False

    def place(self, deployments: Sequence[Deployment]) -> Deployment:
        """The one to ask. Where nothing else decides, that too is the conversation's own."""
        if len(deployments) == 1:
            return deployments[0]
        preferred = sorted(deployments, key=self._preference, reverse=True)
        if self.is_kept:
            in_flight = 1 + sum(each.in_flight for each in deployments)
            share = LOAD * in_flight / sum(each.weight for each in deployments)
            # The shares are more than there is: one always has room.
            return next(
                each for each in preferred if each.in_flight < math.ceil(share * each.weight)
            )
        return min(preferred, key=lambda each: each.in_flight / each.weight)

    def _preference(self, deployment: Deployment) -> float:
        digest = blake2b(deployment.name.encode(), digest_size=7, key=self._key).digest()
        # 56 bits, so that the quotient lies between 0 and 1 without being either.
        chance = (int.from_bytes(digest) + 0.5) / 2**56
        return deployment.weight / -math.log(chance)

    @cached_property
    def _key(self) -> bytes:
        if self._request.prompt_cache_key:
            return blake2b(self._request.prompt_cache_key.encode(), digest_size=16).digest()
        told = blake2b(digest_size=16)
        for message in self._request.messages:
            for piece in _pieces(message):
                told.update(f"{len(piece)}:{piece[:_MOST]}{piece[-64:]}".encode())
            if message.role == ROLE_USER:
                break
        return told.digest()


def _pieces(message: Message) -> list[str]:
    return [str(message.role), message.content, *map(_piece, message.parts)]


def _piece(part: ContentPart) -> str:
    match part.WhichOneof("part"):
        case "text":
            return part.text.text
        case "image_url":
            return part.image_url.url
        case "input_audio":
            return part.input_audio.data
        case "file":
            return part.file.file_id or part.file.file_data
        case "other_json":
            return part.other_json
        case _:
            return part.refusal.refusal
