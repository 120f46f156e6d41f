"""A call's id: the caller's own, or a new one; returned, logged, and sent on. On both faces."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from account_log import account_log
from faces import GRPC, HTTP, Faces, faces
from faulty_upstream import saying, status, upstream
from serving import ask

from diglot.v1.chat_pb2_grpc import ChatServiceStub

MADE = re.compile("req_[0-9a-f]{32}")


async def returned(served: Faces, face: str, sent: str | None, *, stream: bool) -> str:
    """The id that came back with the answer, or with the error."""
    headers = {} if sent is None else {"x-request-id": sent}
    if face == HTTP:
        body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{served.http}/chat/completions", json=body, headers=headers) as answer,
        ):
            await answer.read()
            return answer.headers["x-request-id"]
    async with grpc.aio.insecure_channel(served.grpc) as channel:
        stub = ChatServiceStub(channel)
        asking: Any = stub.StreamChatCompletion if stream else stub.CreateChatCompletion
        call = asking(ask(model="m"), metadata=tuple(headers.items()))
        try:
            if stream:
                async for _ in call:
                    pass
            else:
                await call
        except grpc.aio.AioRpcError:
            pass
        return str(dict(await call.trailing_metadata())["x-request-id"])


@pytest.mark.parametrize("face", [HTTP, GRPC])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "unary"])
@pytest.mark.parametrize("sent", ["my-call.1:a_B", None, "not fit for a log"])
@pytest.mark.parametrize("fails", [False, True], ids=["answered", "failed"])
async def test_an_id_goes_all_the_way_and_back(
    tmp_path: Path, face: str, stream: bool, sent: str | None, fails: bool
) -> None:
    behave = status("503 Down") if fails else saying("hello")
    async with upstream(behave) as behind:
        config = f'[[models]]\nkind = "upstream"\nname = "m"\nbase_url = "{behind.base_url}"\n'
        async with faces(tmp_path, config) as served:
            with account_log() as log:
                name = await returned(served, face, sent, stream=stream)
                line = await log.line(name)
    if sent == "my-call.1:a_B":
        assert name == sent
    else:
        assert MADE.fullmatch(name)
    assert line["outcome"] == ("upstream_unavailable" if fails else "ok")
    assert [each.headers["x-request-id"] for each in behind.exchanges] == [name.lower()]
