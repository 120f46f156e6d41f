"""The OpenAPI document: what the HTTP face takes and gives.

It says the same on every Diglot, and nothing of the one that serves it; so nobody needs a
key for it.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import version
from typing import Any

from .openapi_operations import paths
from .openapi_request import request_schemas
from .openapi_responses import response_schemas
from .request import CompletionRequest, UpdateRequest

_ABOUT = """\
One chat-completion service with two faces: OpenAI's API, described here, and gRPC, whose
contract is `diglot.v1`. Any OpenAI client works unmodified, with another base URL and a key
of this server.

Errors are OpenAI's error object. Every answer has an `x-request-id`; send your own to have it
in the server's log."""


@cache
def document() -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {"title": "Diglot", "version": version("diglot"), "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "tags": [{"name": name} for name in ("Chat", "Stored completions", "Models", "Server")],
        "paths": paths(),
        "components": {
            "schemas": {
                **request_schemas(CompletionRequest, UpdateRequest),
                **response_schemas(),
            },
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of this server: `diglot key add NAME` prints one.",
                }
            },
        },
    }


@cache
def openapi_json() -> bytes:
    return json.dumps(document(), ensure_ascii=False, separators=(",", ":")).encode()
