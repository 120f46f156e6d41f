"""The deployments of one model, and which of them gets a request."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence, Set

from diglot.burst import Burst
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from ..admission import Admission, Place
from ..call import Call
from ..capability import Capability
from ..errors import ChatError
from ..validation.table import applicable
from .affinity import Conversation
from .deployment import Deployment


class Group:
    """`name` is the model's, and so are the limits of its answers and of their number."""

    def __init__(
        self,
        name: str,
        deployments: Sequence[Deployment],
        max_completion_tokens: int | None = None,
        admission: Admission | None = None,
    ) -> None:
        self.name = name
        self._admission = admission
        self._most = max_completion_tokens
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

    def limited(self, request: CreateChatCompletionRequest) -> CreateChatCompletionRequest:
        """The request as this model answers it, where it was sent to another one: for no more
        tokens than it may have."""
        if self._most is None:
            return request
        limited = CreateChatCompletionRequest()
        limited.CopyFrom(request)
        if limited.HasField("max_tokens"):
            limited.max_tokens = min(limited.max_tokens, self._most)
        if limited.HasField("max_completion_tokens") or not limited.HasField("max_tokens"):
            asked = limited.max_completion_tokens or self._most
            limited.max_completion_tokens = min(asked, self._most)
        return limited

    async def enter(self, call: Call, answers: int) -> Place | None:
        """For a request that was sent to another model: returns once this one has room for it.

        Raises as `Admission.enter`. None, where there is no end to the room.
        """
        return None if self._admission is None else await self._admission.enter(call, answers)

    def stream(
        self, deployment: Deployment, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        """What the deployment answers."""

        def spare() -> bool:
            return any(each.healthy for each in self.deployments if each is not deployment)

        return deployment.stream(request, call, spare)


def _refusal(request: CreateChatCompletionRequest, deployment: Deployment) -> ChatError | None:
    """What the deployment cannot do of what the request needs."""
    for rule in applicable(request, deployment.capabilities):
        if rule.unless is not None:
            for error in rule.check(request):
                return error
    return None
