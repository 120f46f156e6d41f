"""The engines that run, from one configuration to the next.

What a configuration has in common with the one before is not started again: its engines stay,
with the requests that they have and the judgement on them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from diglot.v1.model_pb2 import Model

from ..admission import Admission, Limits
from ..capability import Capability
from ..config import (
    DEFAULT,
    EmbeddedModel,
    ModelSettings,
    ScriptedModel,
    Settings,
    SingleModel,
    places_of,
)
from ..config.model_table import Placed
from ..config.models import OF_THE_MODEL
from ..engine import Engine
from ..models import ServedModel
from ..routing import Deployment, Group, RoutedEngine, Timeouts

Make = Callable[[SingleModel, str], Engine]
"""From a place, and the name of the model that runs there."""

# As many streams as a process can pass on to readers, 30 tokens a second each.
_RUNNING = 1000
# For an embedded model that is half a minute of answers of 100 tokens, and as long as they may
# wait; where more run at a time a queue is emptied sooner.
_QUEUED_FOR_EACH = 16
_MOST_QUEUED = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Running:
    """A deployment, with the part of its settings that its engine depends on."""

    model: str
    place: SingleModel
    deployment: Deployment


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to run, place by place."""

    settings: Settings
    running: tuple[Running, ...]
    started: tuple[Engine, ...]
    """Those of the engines that are new: whoever commits the plan has started them."""
    dropped: tuple[Engine, ...]
    """Engines that are needed no more, once the calls that use them have ended."""


class Fleet:
    """Knows what runs. Starts and stops nothing itself."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._running: tuple[Running, ...] = ()
        self._routed: list[RoutedEngine] = []
        self._created: dict[str, int] = {}
        self._admissions: dict[str, Admission] = {}

    def deployments(self) -> Iterator[tuple[str, Deployment, bool]]:
        """What runs: the model's name, the deployment, and whether calls come to it by way of
        routing, which counts them."""
        routed = {deployment for engine in self._routed for deployment in engine.deployments}
        for each in self._running:
            yield each.model, each.deployment, each.deployment in routed

    def plan(self, settings: Settings) -> Plan:
        """Changes nothing yet."""
        running = tuple(self._places(settings))
        before = [each.deployment.engine for each in self._running]
        after = [each.deployment.engine for each in running]
        return Plan(
            settings,
            running,
            started=tuple(engine for engine in after if engine not in before),
            dropped=tuple(engine for engine in before if engine not in after),
        )

    def commit(self, plan: Plan) -> list[ServedModel]:
        """The models to offer from now on. Those of an earlier plan may finish their calls."""
        for routed in self._routed:
            routed.detach()
        self._routed = []
        self._running = plan.running
        models = {model.name: model for model in plan.settings.models}
        created = int(time.time())
        self._created = {name: self._created.get(name, created) for name in models}
        workers = plan.settings.workers
        self._admissions = {name: self._admission(model, workers) for name, model in models.items()}
        deployments = iter(plan.running)
        groups = {
            model.name: Group(
                model.name,
                [_set(next(deployments), at) for at in places_of(model)],
                model.max_completion_tokens,
                self._admissions[model.name],
            )
            for model in plan.settings.models
        }
        return [self._served(model, plan.settings, models, groups) for model in models.values()]

    def _admission(self, model: ModelSettings, workers: int) -> Admission:
        """That of the model as it was, so that what runs and waits is counted on."""
        limits = limits_of(model).share(workers)
        admission = self._admissions.get(model.name)
        if admission is None:
            return Admission(limits)
        admission.limits = limits
        return admission

    def _places(self, settings: Settings) -> Iterator[Running]:
        left = list(self._running)
        for model in settings.models:
            for place in places_of(model):
                essence = _essence(place, model)
                for each in left:
                    if (each.model, each.place) == (model.name, essence):
                        left.remove(each)
                        yield each
                        break
                else:
                    deployment = Deployment(place.name, self._make(essence, model.name))
                    yield Running(model.name, essence, deployment)

    def _served(
        self,
        model: ModelSettings,
        settings: Settings,
        models: Mapping[str, ModelSettings],
        groups: Mapping[str, Group],
    ) -> ServedModel:
        group = groups[model.name]
        fallbacks = []
        fallback = model.fallback
        while fallback is not None:
            fallbacks.append(groups[fallback])
            fallback = models[fallback].fallback
        engine = group.deployments[0].engine
        if len(group.deployments) > 1 or fallbacks or _is_bound(group.deployments[0]):
            routed = RoutedEngine(group, fallbacks)
            self._routed.append(routed)
            engine = routed
        kinds = {place.kind for place in places_of(model)}
        owner = "diglot" if kinds <= {"embedded", "scripted"} else min(kinds - {"embedded"})
        aliases = model.aliases
        if settings.default_model == model.name:
            aliases = (*aliases, DEFAULT)
        return ServedModel(
            Model(id=model.name, created=self._created[model.name], owned_by=owner),
            engine,
            model.max_completion_tokens,
            aliases,
            self._admissions[model.name],
            model.timeout_seconds,
        )


def limits_of(model: ModelSettings) -> Limits:
    """What a model takes on."""
    running = model.max_running or sum(map(_at_a_time, places_of(model)))
    queued = model.max_queued
    if queued is None:
        queued = min(_QUEUED_FOR_EACH * running, _MOST_QUEUED)
    return Limits(running, queued, model.max_queue_seconds)


def _at_a_time(place: SingleModel) -> int:
    # llama.cpp would queue what is more, without an end, and without turns.
    return place.slots if isinstance(place, EmbeddedModel) else _RUNNING


def _essence(place: SingleModel, model: ModelSettings) -> SingleModel:
    """Without what its engine does not know, so that a change there starts nothing again."""
    defaults = {
        key: type(place).model_fields[key].default for key in (*OF_THE_MODEL, *Placed.model_fields)
    }
    return place.model_copy(update=defaults | {"name": model.name})


def _set(running: Running, place: SingleModel) -> Deployment:
    deployment = running.deployment
    deployment.name = place.name
    deployment.weight = place.weight
    deployment.timeouts = Timeouts(
        place.first_token_timeout_seconds,
        place.between_tokens_timeout_seconds,
        place.total_timeout_seconds,
    )
    if not isinstance(place, EmbeddedModel | ScriptedModel):
        deployment.lacks = frozenset(Capability[name.upper()] for name in place.lacks)
    return deployment


def _is_bound(deployment: Deployment) -> bool:
    return bool(deployment.timeouts) or bool(deployment.lacks)
