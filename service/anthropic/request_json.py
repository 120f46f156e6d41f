"""The request as the Messages API reads it: contract to JSON.

For requests that `unsupported.check` has passed.
"""

from __future__ import annotations

import json
from typing import Any

from diglot.v1.chat_pb2 import CreateChatCompletionRequest, JsonSchemaResponse

from ..errors import InvalidValue
from ..upstream.request_json import present
from .thinking import Options, limits, takes_thought
from .tools import tools_of
from .turns import turns_of

Json = dict[str, Any]

# OpenAI's default is the project's own tier, which mostly is the standard one.
SERVICE_TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}


def to_json(request: CreateChatCompletionRequest, model: str, options: Options) -> Json:
    """Raises an InvalidRequest for content that cannot be said there."""
    extra: Json = json.loads(request.extra_json) if request.HasField("extra_json") else {}
    body: Json = {"model": model, "stream": True} | limits(request, options)
    thinking = body.get("thinking", extra.get("thinking"))
    system, body["messages"] = turns_of(
        request.messages,
        with_thought=takes_thought(thinking, options),
        mid_conversation_system=options.mid_conversation_system,
    )
    if system:
        body["system"] = system
    body |= present(request, ("temperature", "top_p"))
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    body |= tools_of(request)
    if request.response_format.HasField("json_schema"):
        form = {"type": "json_schema", "schema": _schema(request.response_format.json_schema)}
        body["output_config"] = body.get("output_config", {}) | {"format": form}
    if user := request.safety_identifier or request.user:
        body["metadata"] = {"user_id": user}
    if request.HasField("service_tier"):
        body["service_tier"] = SERVICE_TIERS[request.service_tier]
    return body | _vendor_keys(extra, body)


def _schema(form: JsonSchemaResponse) -> Json:
    """The schema as it is: what of it the API cannot enforce, it refuses by name."""
    schema: Json = json.loads(form.schema_json)
    if form.HasField("description"):  # which the model is to read, and has no other place
        schema.setdefault("description", form.description)
    return schema


def _vendor_keys(extra: Json, body: Json) -> Json:
    """Keys of the API's own: top_k, thinking, container …"""
    for key in extra:
        if key in body:
            raise InvalidValue(
                f"'{key}' in 'extra_json' contradicts what the request says elsewhere.",
                field=f"extra_json.{key}",
            )
    return extra
