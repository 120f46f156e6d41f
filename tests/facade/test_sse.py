"""Streams, to the byte."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from diglot.v1 import chunk_pb2, completion_pb2, message_pb2

from .fake import HELLO, FakeService, chunk, facade, first, last, over, post, status
from .memory_channel import MemoryChannel

HEAD = '"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m"'
STREAM = {**HELLO, "stream": True}
COMMENT = b":\n\n"


def event(delta: str, finish_reason: str = "null", rest: str = "") -> bytes:
    choice = f'{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish_reason}}}'
    return f'data: {{{HEAD},"choices":[{choice}]{rest}}}\n\n'.encode()


def emits(*steps: Any) -> FakeService:
    """A service whose stream is these chunks, aborts (statuses) and pauses (awaitables)."""
    service = FakeService()

    async def stream(request: Any, context: Any) -> None:
        service.called.set()
        try:
            for step in steps:
                if isinstance(step, chunk_pb2.ChatCompletionChunk):
                    await context.write(step)
                elif callable(step):
                    await step()
                else:
                    await context.abort_with_status(step)
        except asyncio.CancelledError:
            service.cancelled.set()
            raise

    service.stream = stream
    return service


async def test_a_stream_of_text() -> None:
    async with facade() as running:
        assert await running.events() == (
            event('{"role":"assistant","content":"","refusal":null}')
            + event('{"content":"h"}')
            + event('{"content":"i"}')
            + event("{}", '"stop"')
            + b"data: [DONE]\n\n"
        )
        assert running.service.calls == ["StreamChatCompletion"]


async def test_a_stream_with_usage() -> None:
    spent = chunk_pb2.ChatCompletionChunk(id="chatcmpl-1", created=1700000000, model="m")
    spent.usage.total_tokens = 5
    async with facade(emits(first(), last(), spent)) as running:
        assert await running.events(stream_options={"include_usage": True}) == (
            event('{"role":"assistant","content":"","refusal":null}', rest=',"usage":null')
            + event("{}", '"stop"', rest=',"usage":null')
            + f'data: {{{HEAD},"choices":[],"usage":'.encode()
            + b'{"prompt_tokens":0,"completion_tokens":0,"total_tokens":5}}\n\n'
            + b"data: [DONE]\n\n"
        )
        assert running.service.requests[0].stream_options.include_usage


async def test_a_stream_of_tool_calls() -> None:
    header = chunk_pb2.ToolCallDelta(id="1", function=chunk_pb2.FunctionCallDelta(name="f"))
    more = chunk_pb2.ToolCallDelta(function=chunk_pb2.FunctionCallDelta(arguments="{}"))
    service = emits(
        chunk(role=message_pb2.ROLE_ASSISTANT, tool_calls=[header]),
        chunk(tool_calls=[more]),
        last(completion_pb2.FINISH_REASON_TOOL_CALLS),
    )
    async with facade(service) as running:
        assert await running.events() == (
            event(
                '{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"1",'
                '"type":"function","function":{"name":"f","arguments":""}}],"refusal":null}'
            )
            + event('{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}')
            + event("{}", '"tool_calls"')
            + b"data: [DONE]\n\n"
        )


async def test_the_headers() -> None:
    async with facade() as running:
        headers = {**running.headers, "Accept-Encoding": "gzip"}
        asked: dict[str, Any] = {"json": STREAM, "headers": headers}
        async with running.http.post(f"{running.url}/v1/chat/completions", **asked) as answer:
            assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            assert answer.headers["Cache-Control"] == "no-cache, no-transform"
            assert answer.headers["X-Accel-Buffering"] == "no"
            assert answer.headers["x-request-id"].startswith("req_")
            assert "Content-Encoding" not in answer.headers
            await answer.read()


async def test_chunks_that_are_there_together_are_sent_together() -> None:
    async with over(MemoryChannel([first(), chunk("h"), chunk("i"), last()])) as running:
        reader, _ = await running.raw(post(json.dumps(STREAM).encode()))
        await reader.readuntil(b"\r\n\r\n")
        pieces = []
        while size := int(await reader.readline(), 16):  # as HTTP frames them
            pieces.append(await reader.readexactly(size))
            await reader.readline()
        assert len(pieces) == 1
        assert pieces[0].count(b"data: ") == 5


async def test_a_source_that_never_waits_lets_others_work() -> None:
    endless = [chunk("x" * 100)] * 20_000
    async with over(MemoryChannel(endless), require_key=False) as running:
        reading = asyncio.create_task(running.events())
        while not reading.done():
            assert (await running.get("/healthz"))[0] == 200
            served = not reading.done()
            if served:
                break
        assert served
        assert (await reading).count(b"data: ") == 20_001


async def test_an_empty_stream_is_done() -> None:
    async with facade(emits()) as running:
        assert await running.events() == b"data: [DONE]\n\n"


async def test_the_status_waits_for_the_first_chunk() -> None:
    async with facade(emits(status("MODEL_NOT_FOUND", "No such model.", field="model"))) as running:
        error = await running.refusal(STREAM)
        assert (error["status"], error["code"], error["param"]) == (404, "model_not_found", "model")


async def test_an_error_after_the_first_chunk_is_an_event_and_the_end() -> None:
    service = emits(first("x"), status("ENGINE_LOST", "The engine died.\n", retry=1))
    async with facade(service) as running:
        events = await running.events()
        assert events.startswith(event('{"role":"assistant","content":"x","refusal":null}'))
        error = events.split(b"\n\n")[1]
        assert json.loads(error.removeprefix(b"data: ")) == {
            "error": {
                "message": "The engine died.\n",
                "type": "server_error",
                "param": None,
                "code": "engine_lost",
            }
        }
        assert events.count(b"\n\n") == 2
        assert b"[DONE]" not in events


async def test_a_comment_while_the_first_chunk_is_awaited_and_then_an_error() -> None:
    go = asyncio.Event()
    service = emits(go.wait, status("INTERNAL", "Broken."))
    async with facade(service, keepalive=0.01) as running:
        asked: dict[str, Any] = {"json": STREAM, "headers": running.headers}
        async with running.http.post(f"{running.url}/v1/chat/completions", **asked) as answer:
            assert answer.status == 200
            assert await answer.content.readexactly(6) == COMMENT * 2
            go.set()
            rest = await answer.read()
        assert rest.lstrip(b":\n").startswith(b'data: {"error": {"message": "Broken."')
        assert b"[DONE]" not in rest


async def test_a_comment_between_chunks() -> None:
    go = asyncio.Event()
    async with facade(emits(first("a"), go.wait, last()), keepalive=0.01) as running:
        asked: dict[str, Any] = {"json": STREAM, "headers": running.headers}
        async with running.http.post(f"{running.url}/v1/chat/completions", **asked) as answer:
            # On a busy machine some may come before the first chunk, or after the last, too.
            while (said := await answer.content.readuntil(b"\n\n")) == COMMENT:
                pass
            assert said.startswith(b"data: ")
            assert await answer.content.readuntil(b"\n\n") == COMMENT
            go.set()
            rest = await answer.read()
        assert rest.replace(COMMENT, b"") == event("{}", '"stop"') + b"data: [DONE]\n\n"


async def test_no_comment_while_there_is_something_to_say() -> None:
    async with facade(keepalive=60) as running:
        assert COMMENT not in await running.events()


async def test_a_client_that_leaves_cancels_the_call() -> None:
    service = emits(first("a"), asyncio.Event().wait)
    async with facade(service) as running:
        reader, writer = await running.raw(post(json.dumps(STREAM).encode()))
        await reader.readuntil(b"data: ")
        writer.close()
        await service.cancelled.wait()


async def test_a_client_that_leaves_before_the_first_chunk_cancels_the_call() -> None:
    service = emits(asyncio.Event().wait)
    async with facade(service) as running:
        _, writer = await running.raw(post(json.dumps(STREAM).encode()))
        await service.called.wait()
        writer.close()
        await service.cancelled.wait()


async def test_a_client_that_is_cut_off_cancels_the_call(caplog: pytest.LogCaptureFixture) -> None:
    endless = FakeService()

    async def stream(request: Any, context: Any) -> None:
        try:
            while True:
                await context.write(first("x" * 1000))
        except asyncio.CancelledError:
            endless.cancelled.set()
            raise

    endless.stream = stream
    async with facade(endless) as running:
        reader, writer = await running.raw(post(json.dumps(STREAM).encode()))
        await reader.readuntil(b"data: ")
        writer.transport.abort()  # a reset, in the middle of writes
        await endless.cancelled.wait()
    assert [record for record in caplog.records if record.name.startswith("diglot")] == []
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []


async def test_a_slow_reader_slows_the_service_down() -> None:
    service = FakeService()
    sent = 0

    async def stream(request: Any, context: Any) -> None:
        nonlocal sent
        service.called.set()
        for _ in range(400):
            await context.write(chunk("x" * 100_000))
            sent += 1

    service.stream = stream
    async with facade(service) as running:
        reader, writer = await running.raw(post(json.dumps(STREAM).encode()))
        await service.called.wait()
        before = -1
        while sent != before:  # until every buffer on the way is full
            before = sent
            for _ in range(20):
                await running.get("/healthz")
        assert sent < 400
        body = bytearray()
        while not body.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"):
            body += await reader.read(2**20)
        assert sent == 400
        assert body.count(b'"content":"xxx') == 400
        writer.close()


async def test_a_deadline_before_and_after_the_first_chunk() -> None:
    async with facade(emits(asyncio.Event().wait), timeout=0.05) as running:
        error = await running.refusal(STREAM)
        assert (error["status"], error["code"]) == (504, "timeout")
    async with facade(emits(first(), asyncio.Event().wait), timeout=1) as running:
        events = await running.events()
        assert b'"code": "timeout"' in events
        assert b"[DONE]" not in events


async def test_a_chunk_that_cannot_be_written_is_logged_and_not_explained(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = chunk("x")
    bad.choices[0].logprobs.content.add(logprob=float("nan"))
    async with facade(emits(first(), bad, asyncio.Event().wait)) as running:
        events = await running.events()
        assert b'"type": "server_error"' in events
        assert b"JSON compliant" not in events
        await running.service.cancelled.wait()
    record = next(record for record in caplog.records if record.name.startswith("diglot"))
    assert record.exc_info
    assert "req_" in record.message


async def test_http_1_0_gets_its_stream_too() -> None:
    async with facade() as running:
        request = post(json.dumps(STREAM).encode()).replace(b"HTTP/1.1", b"HTTP/1.0")
        reader, writer = await running.raw(request)
        answer = await reader.read()
        assert b"chunked" not in answer
        assert answer.endswith(b"data: [DONE]\n\n")
        writer.close()
