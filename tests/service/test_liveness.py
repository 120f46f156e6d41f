"""When a process of llama.cpp's that answers is taken to be stuck: what it says is given here."""

from __future__ import annotations

import json

import pytest

from diglot.service.embedded.liveness import NoProgressError, Progress

IDLE = {"id": 0, "is_processing": False, "n_decoded": 5}
BUSY = {"id": 1, "is_processing": True, "id_task": 7, "n_prompt_tokens_processed": 32}


async def stood_still(*said: object) -> list[bool]:
    """After each of the questions, of which these are the answers."""
    answers = iter(said)

    async def slots() -> bytes:
        answer = next(answers)
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    progress = Progress(slots)
    result = []
    for _ in said:
        try:
            await progress()
            result.append(False)
        except NoProgressError:
            result.append(True)
    return result


async def test_an_answer_that_is_where_it_was_makes_none() -> None:
    assert await stood_still([IDLE, BUSY], [IDLE, BUSY], [IDLE, BUSY]) == [False, True, True]


@pytest.mark.parametrize(
    "later",
    [
        [IDLE, BUSY | {"n_prompt_tokens_processed": 64}],
        [IDLE, BUSY | {"id_task": 8}],
        [BUSY | {"id": 0}, BUSY],
        [IDLE, IDLE],
    ],
)
async def test_whatever_changes_is_progress(later: object) -> None:
    """Also of one answer only: all of them are decoded together."""
    assert await stood_still([IDLE, BUSY], later) == [False, False]


@pytest.mark.parametrize(
    "said", [[], [IDLE], {"error": {"code": 501}}, [None], [{"state": 1}], b"", b"<html>"]
)
async def test_where_nothing_is_under_way_none_is_missed(said: object) -> None:
    """Nor where llama.cpp does not say: nobody is killed on a guess."""
    assert await stood_still(said, said, said) == [False, False, False]
