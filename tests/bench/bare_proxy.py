"""The least that a proxy in Python can be: aiohttp's server and client on uvloop, and nothing else.

No contract, no keys, no log: what it takes on a machine is what Diglot's figures are read against.

    python -m tests.bench.bare_proxy PORT http://UPSTREAM    runs until it is ended
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import uvloop
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

_CLIENT = web.AppKey("client", ClientSession)
_JSON = {"Content-Type": "application/json"}


def app(upstream: str) -> web.Application:
    async def client(app: web.Application) -> AsyncIterator[None]:
        connector = TCPConnector(limit=0)
        timeout = ClientTimeout(total=None)
        async with ClientSession(upstream, connector=connector, timeout=timeout) as session:
            app[_CLIENT] = session
            yield

    proxy = web.Application()
    proxy.cleanup_ctx.append(client)
    proxy.router.add_post("/{path:.*}", _pass_on)
    return proxy


async def _pass_on(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    session = request.app[_CLIENT]
    async with session.post(request.path, data=body, headers=_JSON) as answer:
        if answer.content_type == "application/json":
            return web.Response(
                status=answer.status, body=await answer.read(), content_type=answer.content_type
            )
        passed = web.StreamResponse(
            status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]}
        )
        await passed.prepare(request)
        async for piece in answer.content.iter_any():
            await passed.write(piece)
        await passed.write_eof()
        return passed


async def _serve(port: int, upstream: str) -> None:
    runner = web.AppRunner(app(upstream), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
        await asyncio.get_running_loop().create_future()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2]))
