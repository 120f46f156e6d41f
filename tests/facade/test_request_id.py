"""The id of a request: the client's own if it is fit, and a new one otherwise."""

from __future__ import annotations

import pytest

from .fake import facade


@pytest.mark.parametrize("name", ["abc", "A.b_c:d-1", "x" * 128])
async def test_a_clients_own_request_id_is_kept(name: str) -> None:
    async with facade() as running:
        _, headers, _ = await running.ask(headers={"X-Request-ID": name})
        assert headers["x-request-id"] == name
        assert running.service.metadata[0]["x-request-id"] == name


@pytest.mark.parametrize("name", ["", "a b", "x" * 129, "é", "a\tb", 'a"b'])
async def test_an_unfit_request_id_is_replaced(name: str) -> None:
    async with facade() as running:
        _, headers, _ = await running.ask(headers={"X-Request-ID": name})
        assert len(headers["x-request-id"]) == 36
        assert headers["x-request-id"].startswith("req_")
        assert running.service.metadata[0]["x-request-id"] == headers["x-request-id"]


async def test_every_answer_has_a_request_id_of_its_own() -> None:
    async with facade() as running:
        seen = set()
        for path in ("/healthz", "/v1/foo", "/v1/models", "/v1/models"):
            seen.add((await running.get(path))[1]["x-request-id"])
        assert len(seen) == 4
