"""The names that requests may call models by, and the models that stand in for others."""

from __future__ import annotations

from collections.abc import Sequence

from .checks import fault
from .models import EmbeddedModel, ModelSettings, RoutedModel, ScriptedModel, places_of

DEFAULT = "default"
"""What a request asks for to get the `default_model`."""


def check_names(models: Sequence[ModelSettings]) -> None:
    """Raises the first fault, with its place below `models`."""
    first: dict[str, int] = {}
    for index, model in enumerate(models):
        _check_wildcard(index, model)
        keys = [f"[{index}].name", *(f"[{index}].aliases[{n}]" for n in range(len(model.aliases)))]
        for key, name in zip(keys, (model.name, *model.aliases), strict=True):
            if "*" in name and name != model.name:
                raise fault(f'found "{name}"; only a name can end in *', key=key)
            if name in first:
                raise fault(
                    f'found "{name}", which models[{first[name]}] is called already;'
                    " each needs a name of its own",
                    key=key,
                )
            first[name] = index


def check_fallbacks(models: Sequence[ModelSettings]) -> None:
    """Likewise."""
    named = {model.name: model for model in models}
    for index, model in enumerate(models):
        chain = [model.name]
        while (wanted := named[chain[-1]].fallback) is not None:
            key = f"[{index}].fallback"
            if wanted not in named:
                raise fault(_unknown(wanted, models), key=key)
            if wanted in chain:
                circle = " -> ".join([*chain, wanted])
                raise fault(f"goes round in a circle: {circle}", key=key)
            if "*" in wanted:
                raise fault(_many(wanted), key=key)
            chain.append(wanted)


def check_default(default: str, models: Sequence[ModelSettings]) -> None:
    """Raises a fault of `default_model` itself."""
    if default not in {model.name for model in models}:
        raise fault(_unknown(default, models))
    if "*" in default:
        raise fault(_many(default))
    for index, model in enumerate(models):
        if DEFAULT in (model.name, *model.aliases):
            raise fault(f'is one too many: models[{index}] is called "{DEFAULT}" already')


def _unknown(name: str, models: Sequence[ModelSettings]) -> str:
    return f'found "{name}"; it must be one of {", ".join(model.name for model in models)}'


def _many(name: str) -> str:
    return f'found "{name}", which stands for many models; name one'


def _check_wildcard(index: int, model: ModelSettings) -> None:
    places = places_of(model)
    if "*" in model.name:
        if model.name.index("*") != len(model.name) - 1:
            raise fault(f'found "{model.name}"; a * can only be the end', key=f"[{index}].name")
        if any(isinstance(place, EmbeddedModel) for place in places):
            raise fault(
                f'found "{model.name}"; an embedded model has one name', key=f"[{index}].name"
            )
        return
    for number, place in enumerate(places):
        if isinstance(place, EmbeddedModel | ScriptedModel) or "*" not in place.upstream_model:
            continue
        below = f".deployments[{number}]" if isinstance(model, RoutedModel) else ""
        raise fault(
            f'found "{place.upstream_model}"; its * stands for what that of the model\'s name'
            " does, which has none",
            key=f"[{index}]{below}.upstream_model",
        )
