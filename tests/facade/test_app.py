"""A completion over HTTP: what is asked of the service, what comes of its failures."""

from __future__ import annotations

import json
from typing import Any

import pytest

from diglot.facade import FacadeOptions

from .fake import HELLO, FakeService, facade, post, status


async def test_a_completion() -> None:
    async with facade() as running:
        code, headers, answer = await running.ask()
        assert code == 200
        assert headers["Content-Type"] == "application/json"
        assert answer["choices"][0]["message"]["content"] == "hi"
        assert answer["usage"]["total_tokens"] == 5
        request = running.service.requests[0]
        assert request.messages[0].content == "hello"
        assert running.service.calls == ["CreateChatCompletion"]  # and no other call


@pytest.mark.parametrize("stream", [False, None])
async def test_without_stream_it_is_a_plain_call(stream: bool | None) -> None:
    async with facade() as running:
        asked = {**HELLO, "stream": stream, "stream_options": {"include_usage": True}}
        assert (await running.ask(asked))[0] == 200
        assert running.service.calls == ["CreateChatCompletion"]
        assert running.service.requests[0].stream_options.include_usage  # the core's to refuse


async def test_empty_messages_reach_the_core() -> None:
    service = FakeService()

    async def create(request: Any, context: Any) -> None:
        assert not request.messages
        await context.abort_with_status(status("MISSING_VALUE", "Say something.", field="messages"))

    service.create = create
    async with facade(service) as running:
        error = await running.refusal({"model": "m", "messages": []})
        assert error == {
            "status": 400,
            "message": "Say something.",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "missing_required_parameter",
        }


async def test_a_client_that_leaves_cancels_the_call(caplog: pytest.LogCaptureFixture) -> None:
    service = FakeService()
    service.create = service.hang
    async with facade(service) as running:
        _, writer = await running.raw(post(json.dumps(HELLO).encode()))
        await service.called.wait()
        writer.close()
        await service.cancelled.wait()
    assert [record for record in caplog.records if record.name.startswith("diglot")] == []
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []


async def test_a_deadline() -> None:
    service = FakeService()
    service.create = service.hang
    async with facade(service, timeout=0.05) as running:
        error = await running.refusal()
        assert (error["status"], error["code"]) == (504, "timeout")
        await service.cancelled.wait()


async def test_an_unexpected_failure_is_logged_and_not_explained(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = FakeService()

    async def create(request: Any, context: Any) -> Any:
        answer = await service._create(request, context)
        answer.choices[0].logprobs.content.add(logprob=float("inf"))
        return answer

    service.create = create
    async with facade(service) as running:
        error = await running.refusal(headers={"x-request-id": "mine"})
        assert (error["status"], error["type"]) == (500, "server_error")
        assert "JSON compliant" not in error["message"]
    record = next(record for record in caplog.records if record.name.startswith("diglot"))
    assert "mine" in record.message
    assert record.exc_info


async def test_a_service_that_reports_an_error_of_its_own() -> None:
    service = FakeService()

    async def create(request: Any, context: Any) -> None:
        await context.abort_with_status(status("RATE_LIMIT_EXCEEDED", "Slow down.", retry=2.5))

    service.create = create
    async with facade(service) as running:
        code, headers, answer = await running.ask()
        assert code == 429
        assert headers["Retry-After"] == "3"
        assert headers["x-should-retry"] == "true"
        assert answer["error"]["type"] == "requests"


async def test_a_servicer_that_crashes_tells_nothing() -> None:
    service = FakeService()

    async def create(request: Any, context: Any) -> None:
        raise KeyError("secret")

    service.create = create
    async with facade(service) as running:
        error = await running.refusal()
        assert error["status"] == 500
        assert "secret" not in error["message"]


@pytest.mark.parametrize("name", ["timeout", "body_timeout", "max_body", "keepalive"])
def test_options_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be more than 0, not 0"):
        FacadeOptions(**{name: 0})  # type: ignore[arg-type]  # any of them
