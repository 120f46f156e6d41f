"""From the contract's answers about stored completions to OpenAI's JSON."""

from __future__ import annotations

from typing import cast

from pydantic_core import from_json

from diglot.v1 import chat_pb2, message_pb2

from . import to_json
from .extra import beside
from .to_json import Json


def completions(answer: chat_pb2.ListChatCompletionsResponse) -> Json:
    return _page([to_json.completion(one) for one in answer.completions], answer.has_more)


def messages(answer: chat_pb2.ListChatCompletionMessagesResponse) -> Json:
    return _page([_message(stored) for stored in answer.messages], answer.has_more)


def deletion(answer: chat_pb2.DeleteChatCompletionResponse) -> Json:
    return {"object": "chat.completion.deleted", "id": answer.id, "deleted": True}


def _page(data: list[Json], has_more: bool) -> Json:
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }


def _message(stored: chat_pb2.StoredMessage) -> Json:
    """As it was sent; in OpenAI's form, which has the parts of a content beside it."""
    message = stored.message
    result: Json = {
        "id": stored.id,
        **to_json.message(message),
        "name": message.name if message.HasField("name") else None,
        "content_parts": [_part(part) for part in message.parts] or None,
    }
    if message.HasField("audio"):
        result["audio"] = {"id": message.audio.id}
    if message.HasField("tool_call_id"):
        result["tool_call_id"] = message.tool_call_id
    return result


def _part(part: message_pb2.ContentPart) -> Json:
    kind = part.WhichOneof("part")
    if kind == "other_json":
        return cast(Json, from_json(part.other_json))
    result: Json = {"type": kind}
    match kind:
        case "text":
            result["text"] = part.text.text
        case "refusal":
            result["refusal"] = part.refusal.refusal
        case "image_url":
            image: Json = {"url": part.image_url.url, **_fields(part.image_url)}
            result[kind] = beside(image, part.image_url)
        case "input_audio":
            sound: Json = {"data": part.input_audio.data, "format": part.input_audio.format}
            result[kind] = beside(sound, part.input_audio)
        case "file":
            result[kind] = beside(_fields(part.file), part.file)
    if part.HasField("prompt_cache_breakpoint"):
        mark = part.prompt_cache_breakpoint
        result["prompt_cache_breakpoint"] = {"mode": mark.mode, **_fields(mark)}
    return beside(result, part)


def _fields(
    message: message_pb2.ImagePart | message_pb2.FilePart | message_pb2.PromptCacheBreakpoint,
) -> Json:
    """Those that are set."""
    return {
        field.name: value for field, value in message.ListFields() if field.name != "extra_json"
    }
