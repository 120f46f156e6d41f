"""What runs on when the configuration changes, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from engines import CALL, FakeEngine

from diglot.service.admission import Limits
from diglot.service.command.fleet import Fleet, Plan
from diglot.service.config import Settings, SingleModel, load
from diglot.service.engine import Engine
from diglot.service.models import ServedModel
from diglot.service.routing import RoutedEngine

ONE = '[[models]]\nname = "one"\nkind = "upstream"\nbase_url = "https://one/v1"\n'
TWO = '[[models]]\nname = "two"\nkind = "upstream"\nbase_url = "https://two/v1"\n'
SEVERAL = '[[models]]\nname = "m"\n'
PLACE = '[[models.deployments]]\nkind = "scripted"\n'


class Configured:
    """A fleet, and the file that it is for."""

    def __init__(self, directory: Path) -> None:
        self.made: list[str] = []
        self._file = directory / "diglot.toml"
        self._fleet = Fleet(self._make)

    def _make(self, place: SingleModel, name: str) -> Engine:
        self.made.append(name)
        return FakeEngine()

    def settings(self, text: str, key: str = "k") -> Settings:
        self._file.write_text(text)
        return load(self._file, environ={"KEY": key})

    def load(self, text: str, key: str = "k") -> tuple[Plan, dict[str, ServedModel]]:
        plan = self._fleet.plan(self.settings(text, key))
        return plan, {served.model.id: served for served in self._fleet.commit(plan)}

    def plan(self, text: str) -> Plan:
        return self._fleet.plan(self.settings(text))


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    return Configured(tmp_path)


def test_one_place_without_more_is_asked_directly(configured: Configured) -> None:
    """Nothing stands between a chunk and its caller."""
    _, models = configured.load(ONE)
    assert isinstance(models["one"].engine, FakeEngine)


@pytest.mark.parametrize(
    "more",
    [
        'fallback = "two"',
        "first_token_timeout_seconds = 3",
        "between_tokens_timeout_seconds = 3",
        "total_timeout_seconds = 3",
        'lacks = ["images"]',
    ],
)
def test_whatever_is_more_is_routed(configured: Configured, more: str) -> None:
    _, models = configured.load(ONE + more + "\n" + TWO)
    assert isinstance(models["one"].engine, RoutedEngine)
    assert isinstance(models["two"].engine, FakeEngine)


def test_what_is_the_same_runs_on(configured: Configured) -> None:
    first, before = configured.load(ONE + TWO)
    assert len(first.started) == 2
    again, after = configured.load(TWO + ONE)
    assert (again.started, again.dropped) == ((), ())
    assert after["one"].engine is before["one"].engine
    assert after["one"].model == before["one"].model


@pytest.mark.parametrize(
    "more",
    [
        'aliases = ["x"]',
        'fallback = "two"',
        "max_completion_tokens = 3",
        "first_token_timeout_seconds = 3",
        "max_running = 3",
        "timeout_seconds = 3",
    ],
)
def test_what_its_engine_does_not_know_starts_nothing_again(
    configured: Configured, more: str
) -> None:
    configured.load(ONE + TWO)
    plan, models = configured.load(ONE + more + "\n" + TWO)
    assert (plan.started, plan.dropped) == ((), ())
    assert models["one"].aliases == (("x",) if "aliases" in more else ())


def test_what_changed_is_started_and_what_went_is_dropped(configured: Configured) -> None:
    _, before = configured.load(ONE + TWO)
    plan, after = configured.load(ONE.replace("https://one", "https://elsewhere"))
    assert plan.started == (after["one"].engine,)
    assert set(plan.dropped) == {before["one"].engine, before["two"].engine}


def test_another_key_is_another_engine(configured: Configured) -> None:
    """Keys are changed in their place, and the file stays as it is."""
    text = ONE + 'api_key_env = "KEY"'
    configured.load(text, key="old")
    same, _ = configured.load(text, key="old")
    assert not same.started
    plan, _ = configured.load(text, key="new")
    assert (len(plan.started), len(plan.dropped)) == (1, 1)


def test_a_plan_that_is_not_committed_changes_nothing(configured: Configured) -> None:
    _, before = configured.load(ONE)
    configured.plan(TWO)
    plan, after = configured.load(ONE)
    assert not plan.started
    assert after["one"].engine is before["one"].engine


def test_deployments_come_and_go_one_by_one(configured: Configured) -> None:
    """Equal ones too, and each keeps what is known of it."""
    places = [PLACE + f'name = "{name}"\n' for name in "abc"]
    _, before = configured.load(SEVERAL + "".join(places[:2]))
    first = before["m"].engine
    assert isinstance(first, RoutedEngine)
    plan, after = configured.load(SEVERAL + "".join(places))
    assert (len(plan.started), len(plan.dropped)) == (1, 0)
    assert [each.name for each in (running.deployment for running in plan.running)] == [*"abc"]
    assert len({running.deployment for running in plan.running}) == 3
    less, _ = configured.load(SEVERAL + places[0])
    assert len(less.dropped) == 2
    plan.running[0].deployment.engine.readiness.down("gone")
    engine = after["m"].engine
    assert engine.readiness.ready, "what is no longer asked hears nothing more"


def test_weights_and_timeouts_change_in_place(configured: Configured) -> None:
    first, _ = configured.load(SEVERAL + PLACE)
    deployment = first.running[0].deployment
    configured.load(SEVERAL + PLACE + "weight = 3\nbetween_tokens_timeout_seconds = 7\n")
    assert (deployment.weight, deployment.timeouts.between_tokens) == (3, 7)


def limits(models: dict[str, ServedModel], name: str) -> Limits:
    admission = models[name].admission
    assert admission is not None
    return admission.limits


def test_a_model_takes_on_what_its_places_can_do(configured: Configured) -> None:
    """llama.cpp never has more than it works on; a queue is as long as it is quick."""
    embedded = '[[models]]\nname = "e"\nkind = "embedded"\n'
    place = '[[models.deployments]]\nkind = "embedded"\n'
    two = SEVERAL + place + place + 'name = "x"\nparallel = 3\n'
    _, models = configured.load(embedded + ONE + two)
    assert limits(models, "e") == Limits(4, 64, 30)
    assert limits(models, "one") == Limits(1000, 1000, 30)
    assert limits(models, "m") == Limits(7, 112, 30)


def test_limits_are_as_they_are_set(configured: Configured) -> None:
    more = "max_running = 2\nmax_queued = 0\nmax_queue_seconds = 3\ntimeout_seconds = 9\n"
    _, models = configured.load(ONE + more + SEVERAL + more + PLACE)
    for name in ("one", "m"):
        assert limits(models, name) == Limits(2, 0, 3)
        assert models[name].timeout == 9


async def test_limits_change_in_place_and_count_what_runs(configured: Configured) -> None:
    _, before = configured.load(ONE)
    admission = before["one"].admission
    assert admission is not None
    place = await admission.enter(CALL)
    _, after = configured.load(ONE + "max_running = 1\n" + TWO)
    assert after["one"].admission is admission
    assert (admission.limits.running, admission.running) == (1, 1)
    assert after["two"].admission is not admission
    place.leave()


def test_all_names_of_a_model_share_its_places(configured: Configured) -> None:
    _, models = configured.load(ONE + 'aliases = ["x"]')
    assert models["one"].called("x").admission is models["one"].admission


def test_the_default_model_is_an_alias(configured: Configured) -> None:
    _, models = configured.load('default_model = "two"\n' + ONE + TWO)
    assert models["two"].aliases == ("default",)


def test_owners(configured: Configured) -> None:
    text = ONE + SEVERAL + PLACE + '[[models]]\nkind = "scripted"\n'
    text += '[[models]]\nname = "mixed"\n' + PLACE
    text += '[[models.deployments]]\nkind = "anthropic"\n'
    _, models = configured.load(text)
    owners = {name: served.model.owned_by for name, served in models.items()}
    assert owners == {
        "one": "upstream",
        "m": "diglot",
        "scripted": "diglot",
        "mixed": "anthropic",
    }
