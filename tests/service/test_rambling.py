"""Small models that do not find the end of a text: it is set for them, unless the caller does."""

from __future__ import annotations

from typing import Any

import pytest
from engines import CALL
from faulty_upstream import saying, upstream
from serving import ask

from diglot.service.config import EmbeddedModel
from diglot.service.embedded.engine import EmbeddedEngine
from diglot.service.embedded.lent import LentProcess, ProcessNews

RAMBLES = "smollm2-135m-instruct"


@pytest.mark.parametrize(
    ("source", "fields", "limit"),
    [
        (RAMBLES, {}, 512),
        (RAMBLES, {"max_completion_tokens": 2000}, 2000),
        (RAMBLES, {"max_tokens": 2000}, 2000),
        ("https://host/another.gguf", {}, None),
    ],
)
async def test_the_limit_of_an_answer_whose_caller_names_none(
    source: str, fields: dict[str, Any], limit: int | None
) -> None:
    async with upstream(saying("well")) as llama:
        process = LentProcess(lambda _: None)
        process.hear(ProcessNews(True, "", llama.base_url, "key", 1))
        model = EmbeddedModel(kind="embedded", name="m", source=source)
        engine = EmbeddedEngine(model, process)
        await engine.start()
        try:
            async for _ in engine.stream(ask(model="m", **fields), CALL):
                pass
        finally:
            await engine.close()
    (asked,) = llama.exchanges
    limits = {asked.body.get("max_tokens"), asked.body.get("max_completion_tokens")}
    assert limits - {None} == ({limit} if limit else set())
