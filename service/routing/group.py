"""The deployments of one model, and which of them gets a request."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence, Set

from diglot.v1.chat_pb2 import CreateChatCompletionRequest
from diglot.v1.chunk_pb2 import ChatCompletionChunk

from ..call import Call
from ..capability import Capability
from ..errors import ChatError
from ..validation.table import TABLE
from .affinity import Conversation
from .deployment import Deployment


class Group:
    """`name` is the model's."""

    def __init__(self, name: str, deployments: Sequence[Deployment]) -> None:
        self.name = name
        self.deployments = tuple(deployments)
        self.capabilities: Set[Capability] = frozenset(
            can for each in deployments for can in each.capabilities
        )
        """What any of them can do: each request goes to one that can do what it needs."""

    def able(
        self, request: CreateChatCompletionRequest, checked: Set[Capability]
    ) -> list[Deployment]:
        """Those that can do what the request needs. `checked` are the capabilities that it has
        been checked against."""
        return [
            each
            for each in self.deployments
            if each.capabilities >= checked or _refusal(request, each) is None
        ]

    def refusal(self, request: CreateChatCompletionRequest) -> ChatError:
        """Why none is able: in the words of the first."""
        return next(error for each in self.deployments if (error := _refusal(request, each)))

    def pick(
        self,
        able: Sequence[Deployment],
        tried: Sequence[Deployment],
        conversation: Conversation,
    ) -> Deployment | None:
        """The one of the able to ask next; None if there is none that would help."""
        left = [each for each in able if each not in tried]
        ready = [each for each in left if each.ready]
        if admitting := [each for each in ready if each.circuit.admits]:
            return conversation.place(admitting)
        if tried or not left:
            return None
        # Better ask than refuse unasked: it may have come back.
        return conversation.place(ready or left)

    def stream(
        self, deployment: Deployment, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        """What the deployment answers."""

        def spare() -> bool:
            return any(each.healthy for each in self.deployments if each is not deployment)

        return deployment.stream(request, call, spare)


def _refusal(request: CreateChatCompletionRequest, deployment: Deployment) -> ChatError | None:
    """What the deployment cannot do of what the request needs."""
    for rule in TABLE:
        if rule.unless is not None:
            for error in rule.errors(request, deployment.capabilities):
                return error
    return None
