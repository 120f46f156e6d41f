"""One core, two faces: the four ways give the same answer, chunk by chunk."""

from __future__ import annotations

from typing import Any

import pytest

from diglot.service.scripted import ScriptedEngine

from . import plain
from .plain import Json
from .scenarios import SCENARIOS, STREAMED, WHOLE, Scenario, case_id, cases
from .test_answers import collected
from .ways import NAMES, open_way, open_ways

for_each_case = pytest.mark.parametrize(("scenario", "mode"), cases(), ids=case_id)


@for_each_case
async def test_the_answer_is_the_same_every_way(scenario: Scenario, mode: str) -> None:
    answers: list[Any] = []
    async with open_ways(*NAMES) as ways:
        for way in ways:
            if mode == STREAMED:
                chunks = await collected(way, scenario.body)
                answers.append([plain.without_identity(chunk) for chunk in chunks])
            else:
                answers.append(plain.without_identity(await way.create(scenario.body)))
            assert way.received[-1] == way.received[0]
        assert len(ways[0].received) == len(NAMES)
    for name, answer in zip(NAMES, answers, strict=True):
        assert answer == answers[0], name


@pytest.mark.parametrize(
    "scenario", [scenario for scenario in SCENARIOS if WHOLE in scenario.modes], ids=case_id
)
async def test_whole_and_streamed_say_the_same(scenario: Scenario) -> None:
    """Field by field, the usage too; what the core does, seen from outside."""
    asked: Json = {**scenario.body, "stream_options": {"include_usage": True}}
    async with open_way("in-process") as way:
        whole = plain.without_identity(await way.create(scenario.body))
        assert plain.fold(await collected(way, asked)) == whole


@pytest.mark.parametrize(
    "scenario", [scenario for scenario in SCENARIOS if STREAMED in scenario.modes], ids=case_id
)
async def test_a_burst_says_the_same_every_way(scenario: Scenario) -> None:
    """Where chunks of text are merged on the way, since they wait for each other."""
    asked: Json = {**scenario.body, "stream_options": {"include_usage": True}}
    answers: list[Json] = []
    async with open_ways(*NAMES, engine=ScriptedEngine()) as ways:
        for way in ways:
            chunks = [plain.without_identity(chunk) for chunk in await collected(way, asked)]
            for chunk in chunks:
                chunk.pop("merged_chunks", None)
            answers.append(plain.fold(chunks))
    for name, answer in zip(NAMES, answers, strict=True):
        assert answer == answers[0], name
