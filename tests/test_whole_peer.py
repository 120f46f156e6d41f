"""Whole answers through two Diglots, one of which asks the other: as the last server behind them
gives them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import grpc
import pytest
from faces import GRPC, HTTP, Faces, faces
from faulty_upstream import Exchange, FaultyUpstream, head, status, upstream
from serving import ask

from diglot.v1.chat_pb2 import AudioOptions
from diglot.v1.chat_pb2_grpc import ChatServiceStub

on_each_face = pytest.mark.parametrize("face", [HTTP, GRPC])

SOUND = {"id": "audio_1", "data": "SUQzBAA=", "transcript": "Rome.", "expires_at": 7}
USAGE = {"prompt_tokens": 4, "completion_tokens": 7, "total_tokens": 11}
MODALITIES = ["text", "audio"]


async def whole_only(exchange: Exchange) -> None:
    """Answers as OpenAI does where it does not stream."""
    if exchange.body.get("stream"):
        message = "audio.format 'mp3' is not supported when stream=true: use 'pcm16'."
        await status("400 Bad Request", message)(exchange)
        return
    spoken = {"content": None, "audio": SOUND} if "audio" in exchange.body else {"content": "Rome."}
    choice = {"index": 0, "message": {"role": "assistant"} | spoken, "finish_reason": "stop"}
    body = json.dumps({"model": "real", "choices": [choice], "usage": USAGE}).encode()
    await exchange.send(
        head("200 OK", "application/json", f"Content-Length: {len(body)}\r\n"), body
    )


@asynccontextmanager
async def two(
    directory: Path, near: str = "", far: str = ""
) -> AsyncIterator[tuple[Faces, FaultyUpstream]]:
    """The one that is asked, and what is behind the one that it asks. `near` and `far` are keys of
    their models."""
    for name in ("near", "far"):
        (directory / name).mkdir()
    async with upstream(whole_only) as behind:
        theirs = f'[[models]]\nname = "m"\nkind = "upstream"\nbase_url = "{behind.base_url}"\n'
        async with faces(directory / "far", theirs + far) as other:
            ours = f'[[models]]\nname = "m"\nkind = "diglot"\ntarget = "{other.grpc}"\n'
            async with faces(directory / "near", ours + near) as both:
                yield both, behind


async def test_sound_that_cannot_be_streamed_comes_over_http(tmp_path: Path) -> None:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "modalities": MODALITIES,
        "audio": {"format": "mp3", "voice": "alloy"},
    }
    async with (
        two(tmp_path) as (both, behind),
        aiohttp.ClientSession() as session,
        session.post(f"{both.http}/chat/completions", json=body) as response,
    ):
        answer = await response.json()
        assert (response.status, answer["usage"]) == (200, USAGE)
        [choice] = answer["choices"]
        assert choice["message"]["audio"] == SOUND
        assert (choice["message"]["content"], choice["finish_reason"]) == (None, "stop")
        async with session.post(
            f"{both.http}/chat/completions", json=body | {"stream": True}
        ) as refused:
            assert refused.status == 400
            assert "use 'pcm16'" in (await refused.json())["error"]["message"]
    assert ["stream" in each.body for each in behind.exchanges] == [False, True]


async def test_sound_that_cannot_be_streamed_comes_over_grpc(tmp_path: Path) -> None:
    request = ask(
        model="m", modalities=MODALITIES, audio=AudioOptions(format="mp3", voice_name="alloy")
    )
    async with (
        two(tmp_path) as (both, _),
        grpc.aio.insecure_channel(both.grpc) as channel,
    ):
        answer = await ChatServiceStub(channel).CreateChatCompletion(request)
    sound = answer.choices[0].message.audio
    assert (sound.id, sound.data, sound.expires_at) == ("audio_1", "SUQzBAA=", 7)
    assert answer.usage.total_tokens == 11


@on_each_face
async def test_where_both_say_so_unary_calls_are_asked_for_whole_to_the_end(
    face: str, tmp_path: Path
) -> None:
    whole = 'unary = "whole"'
    async with two(tmp_path, near=whole, far=whole) as (both, behind):
        seen = await both.ask(face, stream=False)
        assert (seen.text, seen.model, seen.ended) == ("Rome.", "real", True)
    assert not {"stream", "stream_options"} & behind.exchanges[0].body.keys()


@on_each_face
async def test_where_the_first_does_not_the_other_is_asked_for_a_stream(
    face: str, tmp_path: Path
) -> None:
    """As the README says: then what came until a fault is accounted."""
    async with two(tmp_path, far='unary = "whole"') as (both, behind):
        seen = await both.ask(face, stream=False)
        assert seen.error is not None
        assert "stream=true" in seen.message
    assert behind.exchanges[0].body["stream"] is True
