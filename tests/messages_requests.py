"""Requests as OpenAI has them, and the Messages API's as they become of them."""

from __future__ import annotations

from typing import Any

from conformance.ways import to_request
from messages_server import known

from diglot.service.anthropic import Options
from diglot.service.anthropic.request_json import to_json
from diglot.service.anthropic.unsupported import check

Json = dict[str, Any]

HI: Json = {"role": "user", "content": "hi"}
ASKED: Json = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
CALL: Json = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
        {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}},
    ],
}
F: Json = {"type": "function", "function": {"name": "f"}}


def user(*parts: Json) -> Json:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def answer_in(**schema: Any) -> Json:
    form = {"type": "json_schema", "json_schema": {"name": "n", **schema}}
    return {"response_format": form}


def translated(body: Json, options: Options | None = None) -> Json:
    request = to_request({"model": "m", "messages": [HI]} | body)
    check(request)
    return to_json(request, "claude", options or Options(default_max_tokens=100))


def check_that_it_becomes(asked: Json, sent: Json, options: Options | None = None) -> None:
    """And that the SDK's types know all of it."""
    body = translated(asked, options)
    base = {"model": "claude", "stream": True, "max_tokens": 100, "messages": [ASKED]}
    assert body == base | sent
    assert known(body)
