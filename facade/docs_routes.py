"""The description of the API, for programs and for people.

It is made when it is first asked for: a server that starts has no time for it. It takes a
tenth of a second, in a thread, so that no stream has to wait.
"""

from __future__ import annotations

import asyncio

from aiohttp import web


def add_docs(router: web.UrlDispatcher) -> None:
    router.add_get("/openapi.json", _openapi)
    router.add_get("/docs", _docs)


async def _openapi(request: web.Request) -> web.Response:
    return await asyncio.to_thread(_make_openapi)


async def _docs(request: web.Request) -> web.Response:
    return await asyncio.to_thread(_make_docs)


def _make_openapi() -> web.Response:
    from .openapi import openapi_json

    return web.Response(body=openapi_json(), content_type="application/json")


def _make_docs() -> web.Response:
    from .docs import HEADERS, page

    return web.Response(body=page(), content_type="text/html", charset="utf-8", headers=HEADERS)
