"""How long a caller is ready to wait, and what it says of it in a header."""

from __future__ import annotations

from typing import Any

import pytest

from .fake import FakeService, completion, facade


class Timed(FakeService):
    """Keeps how long it was given for the last call."""

    def __init__(self) -> None:
        super().__init__()
        self.given = 0.0
        self.create = self._timed

    async def _timed(self, request: Any, context: Any) -> Any:
        self.given = context.time_remaining()
        return completion()


@pytest.mark.parametrize(("said", "meant"), [("30", 30), ("2.5", 2.5), ("00100", 100)])
async def test_a_call_has_as_long_as_its_caller_waits(said: str, meant: float) -> None:
    service = Timed()
    async with facade(service) as running:
        status, _, _ = await running.ask(headers={"X-Request-Timeout": said})
        assert status == 200
        assert meant - 2 < service.given <= meant


@pytest.mark.parametrize("headers", [{}, {"X-Request-Timeout": "999999999"}])
async def test_but_never_longer_than_the_server_allows(headers: dict[str, str]) -> None:
    service = Timed()
    async with facade(service, timeout=50) as running:
        await running.ask(headers=headers)
        assert 48 < service.given <= 50


@pytest.mark.parametrize("said", ["0", "0.0", "-1", "", "1e3", "inf", "nan", "10s", "1 0", "٣"])
async def test_what_is_no_time_is_refused_by_name(said: str) -> None:
    async with facade() as running:
        error = await running.refusal(headers={"X-Request-Timeout": said})
        assert (error["status"], error["param"]) == (400, "X-Request-Timeout")
        assert "X-Request-Timeout" in error["message"]
        assert running.service.calls == ["ListModels"]  # whose key it is


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v1/models", "GET"),
        ("/v1/models/m", "GET"),
        ("/v1/chat/completions", "GET"),
        ("/v1/chat/completions/c", "GET"),
        ("/v1/chat/completions/c", "DELETE"),
        ("/v1/chat/completions/c/messages", "GET"),
    ],
)
async def test_every_call_takes_it(path: str, method: str) -> None:
    async with facade() as running:
        headers = {**running.headers, "X-Request-Timeout": "soon"}
        status, _, answer = await running.get(path, method, headers=headers)
        assert (status, answer["error"]["param"]) == (400, "X-Request-Timeout")
