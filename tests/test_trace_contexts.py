"""Who decides on traces and who is told of them: callers, their contexts, probes, collectors."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from account_log import account_log
from collector import Collector, collector
from faces import GRPC, HTTP, Seen, faces
from faulty_upstream import saying, upstream
from traces import CALLER, FACES, HEADERS, TRACE, TRACEPARENT, below, config

from diglot.service.entrance import NoKeys, admit, request_id_of
from diglot.service.telemetry import tracing


@FACES
async def test_without_traces_the_callers_context_goes_through(tmp_path: Path, face: str) -> None:
    """As W3C wants it of who takes no part."""
    async with upstream(saying("hello")) as behind, faces(tmp_path, config(None, behind)) as served:
        await served.ask(face, headers=HEADERS)
        await served.ask(face, headers={"traceparent": f"00-{'0' * 32}-{CALLER}-01"})
        await served.ask(face)
        sent = [each.headers for each in behind.exchanges]
    assert (sent[0]["traceparent"], sent[0]["tracestate"]) == (TRACEPARENT, "vendor=1")
    assert not any("traceparent" in each for each in sent[1:])


@FACES
async def test_callers_decide_and_else_the_ratio_does(tmp_path: Path, face: str) -> None:
    more = "traces.sample_ratio = 0"
    async with (
        collector() as there,
        upstream(saying("hello")) as behind,
        faces(tmp_path, config(there, behind, more=more)) as served,
    ):
        await served.ask(face)
        await served.ask(face, headers={"traceparent": TRACEPARENT})
        await served.ask(face, headers={"traceparent": TRACEPARENT[:-1] + "0"})
        sampled = [int(each.headers["traceparent"][-1], 16) & 1 for each in behind.exchanges]
    assert sampled == [0, 1, 0]
    assert len(list(below(there.spans, CALLER))) == len(there.spans) > 0


async def test_probes_are_no_traces(tmp_path: Path) -> None:
    async with (
        collector() as there,
        upstream(saying("hello")) as behind,
        faces(tmp_path, config(there, behind)) as served,
        aiohttp.ClientSession() as session,
    ):
        for path in ("/healthz", "/readyz", "/v1/models"):
            async with session.get(served.http.removesuffix("/v1") + path) as response:
                assert response.status == 200
    assert [span.name for span in there.spans] == ["GET /v1/models"]


async def test_a_collector_that_is_down_costs_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does the server's end wait for it for long."""
    monkeypatch.setattr(tracing, "_LAST_EXPORT", 0.1)
    async with upstream(saying("hello")) as behind:
        lost = Collector(port=1)
        async with faces(tmp_path, config(lost, behind)) as served:
            for face in (HTTP, GRPC):
                assert (await served.ask(face)).text == "hello"


@FACES
async def test_a_caller_who_leaves_is_no_failure(tmp_path: Path, face: str) -> None:
    more = '[[models]]\nkind = "scripted"\n'
    async with (
        collector() as there,
        upstream(saying("hello")) as behind,
        faces(tmp_path, config(there, behind) + f"\n{more}") as served,
    ):
        with account_log() as log:
            script = {"content": "a b", "interval_ms": 600_000}
            seen = Seen()
            asking = asyncio.ensure_future(
                served.ask(
                    face,
                    model="scripted",
                    seen=seen,
                    headers=HEADERS,
                    vendor={"scripted": script},
                )
            )
            await seen.until(lambda seen: seen.model)
            asking.cancel()
            assert (await log.line("req-mine"))["outcome"] == "cancelled"
    spans = [there.one("diglot.v1.ChatService/StreamChatCompletion"), there.one("chat scripted")]
    assert [span.attributes["error.type"] for span in spans] == ["cancelled", "cancelled"]
    assert not any(span.failed for span in spans)


@pytest.mark.parametrize(
    ("metadata", "trace"),
    [
        ({}, ()),
        ({"traceparent": TRACEPARENT}, (("traceparent", TRACEPARENT),)),
        ({"traceparent": "00-xyz"}, ()),
        ({"traceparent": TRACEPARENT + "\r\nx: y"}, ()),
        ({"traceparent": f"ff-{TRACE}-{CALLER}-01"}, ()),
        ({"traceparent": f"00-{TRACE}-{'0' * 16}-01"}, ()),
        ({"tracestate": "a=b"}, ()),
        (
            {"traceparent": TRACEPARENT, "tracestate": "a=b\r\nx: y"},
            (("traceparent", TRACEPARENT),),
        ),
        (
            {"traceparent": TRACEPARENT, "tracestate": "a" * 513},
            (("traceparent", TRACEPARENT),),
        ),
        # In whichever order they come: the log takes the trace's id from the first.
        (
            {"tracestate": "a=b", "traceparent": TRACEPARENT},
            (("traceparent", TRACEPARENT), ("tracestate", "a=b")),
        ),
    ],
)
async def test_a_context_that_is_none_goes_nowhere(
    metadata: dict[str, str], trace: tuple[Any, ...]
) -> None:
    pairs = tuple(metadata.items())
    assert admit(pairs, None, request_id_of(pairs), NoKeys()).trace == trace
