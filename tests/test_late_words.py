"""An upstream that goes on to speak after it has said that it is done."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
import pytest
from faces import GRPC, HTTP, faces
from faulty_upstream import Exchange, event, upstream


async def late(exchange: Exchange) -> None:
    await exchange.answer("well")
    await exchange.send(event(None, "stop"), event(" said"), b"data: [DONE]\n\n")


@pytest.mark.parametrize("face", [HTTP, GRPC])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "unary"])
async def test_nothing_of_it_is_lost_and_the_end_comes_last(
    tmp_path: Path, face: str, stream: bool
) -> None:
    """Clients stop to read at the finish reason."""
    async with upstream(late) as behind:
        config = f'[[models]]\nname = "m"\nkind = "upstream"\nbase_url = "{behind.base_url}"\n'
        async with faces(tmp_path, config) as both:
            seen = await both.ask(face, stream=stream)
            assert (seen.text, seen.ended, seen.error) == ("well said", True, None)
            if face == HTTP and stream:
                assert await finish_reasons(both.http) == [None, None, None, "stop"]


async def finish_reasons(base_url: str) -> list[str | None]:
    """Of each event: the role's, two with words, and the last."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{base_url}/chat/completions", json=body) as response,
    ):
        lines = [line async for line in response.content if line.startswith(b"data: {")]
    return [json.loads(line[6:])["choices"][0]["finish_reason"] for line in lines]
