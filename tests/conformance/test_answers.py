"""Every scenario, every way, whole and streamed: what must come out comes out."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing

import pytest

from . import plain
from .plain import Json
from .scenarios import STREAMED, Scenario, case_id, cases
from .ways import NAMES, Way, open_way

every_way = pytest.mark.parametrize("name", NAMES)


@every_way
@pytest.mark.parametrize(("scenario", "mode"), cases(), ids=case_id)
async def test_the_answer(name: str, scenario: Scenario, mode: str) -> None:
    async with open_way(name) as way:
        if mode == STREAMED:
            chunks = await collected(way, scenario.body)
            check_identity(chunks)
            check_usage(chunks, scenario)
            answer = plain.fold(chunks)
        else:
            answer = await way.create(scenario.body)
            check_identity([answer])
            assert answer["usage"] == usage_of(scenario)
        assert answer["choices"] == scenario.choices
        assert set(plain.without_identity(answer)) <= {"model", "choices", "usage"}
        assert way.engine.active == 0


async def collected(way: Way, body: Json) -> list[Json]:
    async with aclosing(way.stream(body)) as chunks:
        return [chunk async for chunk in chunks]


def check_identity(answers: Iterable[Json]) -> None:
    """One id, one time, one model for all of an answer."""
    found = {(answer["id"], answer["created"], answer["model"]) for answer in answers}
    assert len(found) == 1
    [(name, created, model)] = found
    assert name.startswith("chatcmpl-")
    assert len(name) == len("chatcmpl-") + 29
    assert created > 1_700_000_000
    assert model == "scripted"


def check_usage(chunks: list[Json], scenario: Scenario) -> None:
    """Last, alone, and only if it was asked for."""
    assert not any("usage" in chunk for chunk in chunks[:-1])
    if scenario.with_usage:
        assert chunks[-1]["usage"] == usage_of(scenario)
        assert "choices" not in chunks[-1]
    else:
        assert "usage" not in chunks[-1]
        assert chunks[-1]["choices"]


def usage_of(scenario: Scenario) -> Json:
    prompt, completion = scenario.usage
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
