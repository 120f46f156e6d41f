"""All that can be fuzzed, by name."""

from __future__ import annotations

from collections.abc import Callable

from . import faces, schemas, streams
from .target import OpenTarget

TARGETS: dict[str, Callable[[], OpenTarget]] = {
    "http-body": faces.http_body,
    "http-bytes": faces.http_bytes,
    "grpc-message": faces.grpc_message,
    "upstream-bytes": faces.upstream_bytes,
    "chat-stream": streams.chat_stream,
    "llama-stream": streams.llama_stream,
    "messages-stream": streams.messages_stream,
    "json-schema": schemas.json_schema,
}
