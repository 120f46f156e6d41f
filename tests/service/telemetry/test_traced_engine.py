"""What the span of an engine's call tells of its answer."""

from __future__ import annotations

from collector import collector
from engines import CALL, BurstEngine
from serving import ask

from diglot.service.telemetry.traced_engine import Provider, TracedEngine
from diglot.service.telemetry.tracing import Tracing
from diglot.service.upstream.name import UpstreamName
from diglot.v1.chunk_pb2 import ChatCompletionChunk, ChunkChoice


async def test_a_finish_reason_that_is_newer_than_this_server_fails_no_answer() -> None:
    """Another Diglot may know more of them."""
    end = ChatCompletionChunk(choices=[ChunkChoice(finish_reason=99)])  # type: ignore[arg-type]
    async with collector() as there:
        tracing = Tracing(there.endpoint, 1.0)
        engine = TracedEngine(BurstEngine([end]), tracing, Provider("diglot", UpstreamName("m")))
        assert [burst async for burst in engine.stream(ask(), CALL)] == [[end]]
        await tracing.close()
    attributes = there.one("chat m").attributes
    assert attributes["gen_ai.response.finish_reasons"] == ["other"]
