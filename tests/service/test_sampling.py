"""How a small model is kept on its way: what it is asked where the caller leaves that open."""

from __future__ import annotations

from typing import Any

import pytest
from engines import CALL
from faulty_upstream import saying, upstream
from serving import ask

from diglot.service.config import EmbeddedModel
from diglot.service.embedded.engine import EmbeddedEngine
from diglot.service.embedded.lent import LentProcess, ProcessNews
from diglot.v1 import tool_pb2 as t

RAMBLES = "smollm2-135m-instruct"
ANOTHER = "https://host/another.gguf"
FORM: dict[str, Any] = {"response_format": {"json_object": {}}}
TOOLS = [{"function": {"name": "weather"}}]


async def asked_of_llama(configured: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The body that llama.cpp's server gets."""
    async with upstream(saying("{}")) as llama:
        process = LentProcess(lambda _: None)
        process.hear(ProcessNews(True, "", llama.base_url, "key", 1))
        model = EmbeddedModel(kind="embedded", name="m", **configured)
        engine = EmbeddedEngine(model, process)
        await engine.start()
        try:
            async for _ in engine.stream(ask(model="m", **fields), CALL):
                pass
        finally:
            await engine.close()
    (exchange,) = llama.exchanges
    body: dict[str, Any] = exchange.body
    return body


@pytest.mark.parametrize(
    ("source", "fields", "limit"),
    [
        (RAMBLES, {}, {"max_tokens": 512}),
        (RAMBLES, {"max_completion_tokens": 2000}, {"max_completion_tokens": 2000}),
        (RAMBLES, {"max_tokens": 2000}, {"max_tokens": 2000}),
        (RAMBLES, FORM, {}),
        (RAMBLES, {"tools": TOOLS}, {"max_tokens": 512}),
        (RAMBLES, {"tools": TOOLS, "tool_choice": {"mode": t.TOOL_CHOICE_MODE_REQUIRED}}, {}),
        (ANOTHER, {}, {}),
    ],
)
async def test_an_end_for_who_names_none(
    source: str, fields: dict[str, Any], limit: dict[str, int]
) -> None:
    body = await asked_of_llama({"source": source}, **fields)
    assert {key: body[key] for key in body if key.startswith("max_")} == limit


AS_KNOWN = {"repeat_penalty": 1.1}


@pytest.mark.parametrize(
    ("configured", "fields", "sent"),
    [
        ({"source": RAMBLES}, {}, AS_KNOWN),
        ({"source": RAMBLES}, FORM, {}),
        ({"source": RAMBLES}, {"frequency_penalty": 0.0}, {}),
        ({"source": RAMBLES}, {"presence_penalty": 0.5}, {}),
        ({"source": RAMBLES}, {"extra_json": '{"dry_multiplier": 0.8}'}, {}),
        ({"source": RAMBLES}, {"extra_json": '{"repeat_penalty": 1.3}'}, {"repeat_penalty": 1.3}),
        (
            {"source": RAMBLES},
            {"extra_json": '{"repeat_last_n": 9}'},
            AS_KNOWN | {"repeat_last_n": 9},
        ),
        ({"source": RAMBLES, "repeat_penalty": 1.0}, {}, {}),
        ({"source": RAMBLES, "repeat_penalty": 1.2}, {}, {"repeat_penalty": 1.2}),
        ({"source": ANOTHER}, {}, {}),
        ({"source": ANOTHER, "repeat_penalty": 1.2}, {}, {"repeat_penalty": 1.2}),
    ],
)
async def test_no_circles_for_who_has_no_way_of_their_own_against_them(
    configured: dict[str, Any], fields: dict[str, Any], sent: dict[str, float]
) -> None:
    """Free text alone: a form repeats its keys."""
    body = await asked_of_llama(configured, **fields)
    assert {key: body[key] for key in body if key.startswith("repeat_")} == sent


@pytest.mark.parametrize(
    ("configured", "fields", "sent"),
    [
        ({"source": RAMBLES}, {}, (0.2, 0.9)),
        ({"source": RAMBLES}, {"temperature": 0, "top_p": 0.1}, (0, 0.1)),
        ({"source": RAMBLES, "temperature": 0.7, "top_p": 0.8}, {}, (0.7, 0.8)),
        ({"source": ANOTHER}, {}, (1, 1)),
    ],
)
async def test_the_request_wins_then_the_configuration_then_its_authors_then_openai(
    configured: dict[str, Any], fields: dict[str, Any], sent: tuple[float, float]
) -> None:
    body = await asked_of_llama(configured, **fields)
    assert (body["temperature"], body["top_p"]) == sent
