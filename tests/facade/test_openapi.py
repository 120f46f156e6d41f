"""The OpenAPI document: valid, whole, and true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import openai
import openapi_spec_validator
import pytest
from conformance.scenarios import BOTH, SCENARIOS, Scenario, case_id
from conformance.ways import KEY, arguments, open_sdk
from jsonschema_rs import Draft202012Validator

from diglot.facade import build_app
from diglot.facade.openapi import document
from diglot.facade.openapi_errors import EVERY, OF_NO_OPERATION, row
from diglot.facade.openapi_fields import LIMITS, SOURCES, TEXTS
from diglot.v1.error_pb2 import ErrorReason

from .fake import facade, over
from .memory_channel import MemoryChannel

SCHEMAS: dict[str, Any] = document()["components"]["schemas"]
REQUEST: dict[str, Any] = SCHEMAS["CompletionRequest"]["properties"]


async def test_nobody_needs_a_key_for_it() -> None:
    async with facade() as running:
        code, headers, answer = await running.get("/openapi.json", headers={})
    assert code == 200
    assert headers["Content-Type"] == "application/json"
    assert answer == document()
    assert running.service.calls == []


def test_a_server_that_starts_does_not_make_it() -> None:
    program = "import sys, diglot.facade; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    loaded = set(done.stdout.decode().split())
    assert "diglot.facade.docs_routes" in loaded
    assert not loaded & {"diglot.facade.docs", "diglot.facade.openapi"}


def test_it_is_openapi() -> None:
    assert document()["openapi"].startswith("3.1.")
    openapi_spec_validator.validate(document())


def test_it_has_every_route_and_no_other() -> None:
    channel: Any = MemoryChannel()
    routes = {
        (route.method, re.sub(r"\{\w+\}", "{}", route.resource.canonical))
        for route in build_app(channel).router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    documented = {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path))
        for path, operations in document()["paths"].items()
        for method in operations
    }
    assert documented == routes


def test_only_what_is_public_needs_no_key() -> None:
    public = {
        path
        for path, operations in document()["paths"].items()
        for operation in operations.values()
        if operation.get("security") == []
    }
    assert public == {"/healthz", "/readyz", "/openapi.json", "/docs"}


def test_every_field_is_described() -> None:
    silent = [
        f"{name}.{field}"
        for name, schema in SCHEMAS.items()
        for field, node in schema.get("properties", {}).items()
        if "description" not in node and "const" not in node
    ]
    assert silent == ["ToolCallDelta.type"]


@pytest.mark.parametrize("table", [LIMITS, TEXTS], ids=["limits", "texts"])
def test_the_tables_know_no_field_that_is_not_there(table: dict[str, Any]) -> None:
    fields = {
        f"{name}.{field}" for name in SCHEMAS for field in SCHEMAS[name].get("properties", ())
    }
    assert set(table) <= fields
    assert set(SOURCES) <= set(SCHEMAS)


def test_it_speaks_of_json() -> None:
    """And not of what only the contract has."""
    words = set(re.findall(r"[\w.]+", json.dumps(document(), ensure_ascii=False)))
    fields = {"tools_json", "parameters_json", "schema_json", "extra_json", "parts"}
    assert not {word for word in words if word in fields or word.startswith(("ROLE_", "google."))}


def test_every_error_of_the_table_is_there() -> None:
    reasons = {
        number
        for name, number in ErrorReason.items()
        # The two that no client is ever told.
        if name not in ("ERROR_REASON_UNSPECIFIED", "ERROR_REASON_CANCELLED")
    }
    assert set(EVERY) == reasons
    told = {
        (status, line)
        for operations in document()["paths"].values()
        for operation in operations.values()
        for status, answer in operation["responses"].items()
        for line in answer["description"].splitlines()
    }
    for reason in reasons - set(OF_NO_OPERATION):
        one = row(reason)
        assert (str(one.status), f"- `{one.code or one.type}`: {one.text}") in told


def bounds() -> Iterator[tuple[str, float, float]]:
    """Numbers at the end of a field's range, each with one beyond it."""
    for field, node in REQUEST.items():
        step = 1 if "integer" in node.get("type", ()) else 0.001
        if "minimum" in node:
            yield field, node["minimum"], node["minimum"] - step
        if "maximum" in node:
            yield field, node["maximum"], node["maximum"] + step


@pytest.mark.parametrize(("field", "inside", "outside"), [*bounds()])
async def test_ranges_are_those_that_hold(field: str, inside: float, outside: float) -> None:
    ask: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "x"}]}
    if field == "top_logprobs":
        ask["logprobs"] = True
    async with open_sdk("sdk, in-process") as way:
        await way.sdk.chat.completions.create(**{**ask, field: inside})
        with pytest.raises(openai.BadRequestError) as caught:
            await way.sdk.chat.completions.create(**{**ask, field: outside})
    assert caught.value.param == field


def validator(name: str) -> Draft202012Validator:
    """For answers that hold nothing but what the schema describes."""
    closed = {
        name: {**schema, "additionalProperties": False} if "properties" in schema else schema
        for name, schema in SCHEMAS.items()
    }
    return Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": {"schemas": closed}}
    )


WHOLE = validator("ChatCompletion")
CHUNK = validator("ChatCompletionChunk")
ERROR = validator("ErrorResponse")


@pytest.mark.parametrize(
    "scenario", [scenario for scenario in SCENARIOS if scenario.modes == BOTH], ids=case_id
)
async def test_a_completion_is_what_the_document_says(scenario: Scenario) -> None:
    async with open_sdk("sdk, in-process") as way:
        raw = await way.sdk.chat.completions.with_raw_response.create(**arguments(scenario.body))
    WHOLE.validate(json.loads(raw.content))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=case_id)
async def test_a_stream_is_what_the_document_says(scenario: Scenario) -> None:
    *chunks, end = await events(scenario.body)
    assert chunks
    for chunk in chunks:
        CHUNK.validate(json.loads(chunk))
    assert end == "[DONE]"


async def test_a_stream_that_fails_is_what_the_document_says() -> None:
    script = {"content": " x", "tokens": 3, "fail": "ENGINE_LOST", "fail_after": 2}
    messages = [{"role": "user", "content": "hello"}]
    *chunks, end = await events({"model": "scripted", "messages": messages, "scripted": script})
    assert len(chunks) == 3
    for chunk in chunks:
        CHUNK.validate(json.loads(chunk))
    ERROR.validate(json.loads(end))


async def events(body: dict[str, Any]) -> list[str]:
    """The data of each event."""
    asked: dict[str, Any] = {**arguments(body, KEY), "stream": True}
    async with (
        open_sdk("sdk, in-process") as way,
        way.sdk.chat.completions.with_streaming_response.create(**asked) as raw,
    ):
        text = "".join([piece async for piece in raw.iter_text()])
    *whole, rest = text.split("\n\n")
    assert rest == ""
    assert all(event.startswith("data: ") and "\n" not in event for event in whole)
    return [event.removeprefix("data: ") for event in whole]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("DELETE", "/v1/models", 405), ("GET", "/v1/models/none", 404)],
)
async def test_an_error_is_what_the_document_says(method: str, path: str, status: int) -> None:
    async with facade() as running:
        code, _, answer = await running.get(path, method)
    assert code == status
    ERROR.validate(answer)


async def test_no_key_is_what_the_document_says() -> None:
    async with over(MemoryChannel()) as running:
        code, headers, answer = await running.get("/v1/models", headers={})
    assert code == 401
    documented = document()["paths"]["/v1/models"]["get"]["responses"]["401"]["headers"]
    assert {name for name in documented if name in headers} == set(documented) - {"Retry-After"}
    ERROR.validate(answer)
