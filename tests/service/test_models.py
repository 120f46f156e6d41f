"""Models under their names, and one offer after another."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from engines import FakeEngine

from diglot.service.errors import ModelNotFound
from diglot.service.model_names import ModelNames
from diglot.service.models import Models, Offer, ServedModel
from diglot.v1.model_pb2 import Model


def served(name: str, *aliases: str, engine: FakeEngine | None = None) -> ServedModel:
    model = Model(id=name, created=1, owned_by="x")
    return ServedModel(model, engine or FakeEngine(), aliases=aliases)


def test_a_model_answers_to_all_its_names() -> None:
    models = Models([served("gpt", "gpt-4o", "default"), served("other")])
    assert models.resolve("gpt-4o").engine is models.resolve("gpt").engine
    assert models.resolve("gpt-4o").model.id == "gpt-4o"
    assert [model.id for model in models.all()] == ["gpt", "gpt-4o", "default", "other"]
    assert {model.owned_by for model in models.all()} == {"x"}
    assert len(models.engines) == 2
    with pytest.raises(ModelNotFound):
        models.resolve("gpt-4")


def test_a_pattern_answers_to_whatever_begins_so() -> None:
    """After the names, and the longer ones first; it is not listed itself."""
    names = ["openai/*", "openai/o*", "openai/gpt-5", "*"]
    models = Models(served(name) for name in names)
    engines = dict(zip(names, models.engines, strict=True))
    for asked, pattern in [
        ("openai/gpt-5", "openai/gpt-5"),
        ("openai/gpt-5-mini", "openai/*"),
        ("openai/o3", "openai/o*"),
        ("openai/", "openai/*"),
        ("elsewhere", "*"),
    ]:
        found = models.resolve(asked)
        assert found.engine is engines[pattern]
        assert found.model.id == asked
    assert [model.id for model in models.all()] == ["openai/gpt-5"]


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        ("gpt", ["gpt"]),
        ("gpt-4o", ["gpt-4o"]),
        ("gpt*", ["gpt", "gpt-4o"]),
        ("*", ["gpt", "gpt-4o", "other"]),
        ("other, openai/gpt-5", ["other", "openai/gpt-5"]),
        ("openai/*", []),
        ("gp, gpt-4, nothing*", []),
    ],
)
def test_to_who_is_limited_other_models_are_not_there(names: str, listed: list[str]) -> None:
    """Listed is what can be asked for as it stands: also a name that a pattern answers to."""
    models = Models([served("gpt", "gpt-4o"), served("other"), served("openai/*")])
    only = ModelNames.listed(names)
    assert [model.id for model in models.all(only)] == listed
    everything = {"gpt", "gpt-4o", "other", "openai/gpt-5", "openai/o3"}
    assert {name for name in everything if models.find(name, only)} == {
        name for name in everything if name in only
    }
    for name in everything.difference(only.names):
        if name not in only:
            with pytest.raises(ModelNotFound):
                models.resolve(name, only)


@pytest.mark.parametrize("names", ["", ",", "a,,b", "a*b", "*a", "a\nb"])
def test_what_cannot_be_the_names_of_models(names: str) -> None:
    with pytest.raises(ValueError, match=r"model|pattern"):
        ModelNames.listed(names)


def test_a_new_offer_holds_from_the_next_call_on() -> None:
    models = Models([served("old")])
    call = models.enter()
    models.replace([served("new")])
    assert call.find("old") is not None
    assert models.find("old") is None
    assert models.find("new") is not None
    call.leave()


def test_all_offers_are_told_of_that_calls_still_use() -> None:
    """For what two configurations share, and the third drops."""
    models = Models([served("first")])
    one = models.enter()
    assert models.replace([served("second")]) == (one,)
    two = models.enter()
    assert models.replace([served("third")]) == (one, two)
    two.leave()
    assert models.replace([served("fourth")]) == (one,)
    one.leave()
    assert models.replace([]) == ()


async def test_an_offer_is_idle_when_its_last_call_has_ended() -> None:
    models = Models([])
    offer = models.enter()
    assert models.enter() is offer
    idle = asyncio.ensure_future(offer.idle())
    offer.leave()
    await asyncio.sleep(0)
    assert not idle.done()
    offer.leave()
    await idle
    await offer.idle()


def test_offers_that_no_call_uses_are_forgotten_though_others_are_in_use() -> None:
    """As under load, where each reload finds calls in flight, and one of them takes very long."""
    models = Models([])
    long = models.enter()
    offers: list[weakref.ref[Offer]] = []
    for _ in range(10):
        models.replace([served("m")])
        call = models.enter()
        offers.append(weakref.ref(call))
        models.replace([served("m")])
        call.leave()
    del call
    models.replace([])
    gc.collect()
    assert [offer() for offer in offers] == [None] * 10
    assert long.busy


def test_listeners_hear_of_the_models_on_offer_only() -> None:
    old, new = FakeEngine(ready=False), FakeEngine(ready=False)
    models = Models([served("m", engine=old)])
    heard: list[bool] = []
    models.subscribe(lambda: heard.append(models.ready))
    old.readiness.up()
    models.replace([served("m", engine=new)])
    old.readiness.down("gone")
    new.readiness.up()
    assert heard == [True, False, True]
