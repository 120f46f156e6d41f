"""The engine of a model that runs in several places, or has another one to stand in for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Sequence, Set
from contextlib import aclosing

from diglot.burst import Burst, messages_of
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from ..call import Call
from ..capability import Capability
from ..errors import ChatError, name_of
from ..readiness import Readiness
from .affinity import Conversation
from .budget import RetryBudget
from .deployment import FAILURES, Deployment
from .group import Group

logger = logging.getLogger("diglot.routing")


class RoutedEngine:
    """Asks one deployment; another one if that fails before the first token; and the fallback
    models, in their order, if all do. Each once, within the call's deadline and a budget.

    After the first token a failure is the answer's end: the caller has seen what this
    deployment said, and no other would go on with the same words.

    Where a fallback answers, chunks name its model, and its places are taken: one that is full
    has failed. Where it fails too, the caller is told of the failure of the model that was asked
    for.

    Fallbacks start and close with their own models.
    """

    def __init__(
        self, group: Group, fallbacks: Sequence[Group] = (), budget: RetryBudget | None = None
    ) -> None:
        self.readiness = Readiness()
        self.capabilities: Set[Capability] = group.capabilities
        self._group = group
        self._groups = (group, *fallbacks)
        self._budget = budget or RetryBudget()
        for deployment in group.deployments:
            deployment.engine.readiness.subscribe(self._follow)
        self._follow()

    @property
    def deployments(self) -> Iterator[Deployment]:
        """All that it may ask, those of the fallbacks included."""
        return (deployment for group in self._groups for deployment in group.deployments)

    async def start(self) -> None:
        for deployment in self._group.deployments:
            await deployment.engine.start()

    async def close(self) -> None:
        for deployment in self._group.deployments:
            await deployment.engine.close()

    def detach(self) -> None:
        """For when another engine takes its deployments over: it knows no more of them."""
        for deployment in self._group.deployments:
            deployment.engine.readiness.unsubscribe(self._follow)

    def _follow(self) -> None:
        states = [(each.name, each.engine.readiness) for each in self._group.deployments]
        if any(readiness.ready for _, readiness in states):
            self.readiness.up()
        else:
            self.readiness.down("; ".join(f"{name}: {each.reason}" for name, each in states))

    async def stream(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Burst, None]:
        self._budget.earn()
        conversation = Conversation(request)
        failure: ChatError | None = None
        for group in self._groups:
            own = group is self._group
            able = group.able(request, self.capabilities)
            if own and not able:
                raise group.refusal(request)
            asked = request if own else group.limited(request)
            tried: list[Deployment] = []
            admitted, place = own, None
            try:
                while deployment := group.pick(able, tried, conversation):
                    if failure is not None and not self._may_repeat(call):
                        raise failure
                    tried.append(deployment)
                    answered = False
                    try:
                        if not admitted:
                            place = await group.enter(call, request.n or 1)
                            admitted = True
                        async with aclosing(group.stream(deployment, asked, call)) as bursts:
                            async for burst in bursts:
                                answered = True
                                if not own:
                                    for message in messages_of(burst):
                                        message.model = group.name
                                yield burst
                        return
                    except FAILURES as error:
                        _log(call, group, deployment, error, begun=answered)
                        if answered:
                            raise
                        if own:
                            failure = error
                        if not admitted:
                            break  # its other deployments have no more room
                    except ChatError:
                        if own or answered:
                            raise
                        break  # a fallback's limits are not those of the model that was asked for
            finally:
                if place is not None:
                    place.leave()
        assert failure is not None
        raise failure

    def _may_repeat(self, call: Call) -> bool:
        if call.deadline is not None and asyncio.get_running_loop().time() >= call.deadline:
            return False
        return self._budget.spend()


def _log(
    call: Call, group: Group, deployment: Deployment, error: ChatError, *, begun: bool
) -> None:
    logger.warning(
        "a deployment failed",
        extra={
            "request_id": call.request_id,
            "model": group.name,
            "deployment": deployment.name,
            "reason": name_of(error).lower(),
            "cause": error.cause,
            "begun": begun,
        },
    )
