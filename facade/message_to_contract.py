"""From messages as JSON has them to messages of the contract."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from diglot.v1 import message_pb2

from . import request_message as body
from .extra import json_text, with_extra

_ROLES = {
    "developer": message_pb2.ROLE_DEVELOPER,
    "system": message_pb2.ROLE_SYSTEM,
    "user": message_pb2.ROLE_USER,
    "assistant": message_pb2.ROLE_ASSISTANT,
    "tool": message_pb2.ROLE_TOOL,
    "function": message_pb2.ROLE_FUNCTION,
}


def fill_message(result: message_pb2.Message, message: body.Message, place: int) -> None:
    """Raises Refusal for a number in an unknown key that JSON cannot write."""
    result.role = _ROLES[message.role]
    content = message.content
    if isinstance(content, str):
        result.content = content
    elif content is not None:
        result.parts.extend(to_parts(content, f"messages[{place}]"))
    # By their roles, as isinstance is slow where pydantic has a say in it.
    if message.role == "tool":
        result.tool_call_id = message.tool_call_id
        if isinstance(name := (message.__pydantic_extra__ or {}).get("name"), str):
            result.name = name  # not OpenAI's, but some servers want it
    elif message.name is not None:
        result.name = message.name
    if message.role == "assistant":
        _add_answer(result, message, place)
    if message.__pydantic_extra__:
        with_extra(result, message, f"messages[{place}]")


def to_parts(parts: Iterable[body.Part], path: str) -> list[message_pb2.ContentPart]:
    return [_part(part, f"{path}.content[{i}]") for i, part in enumerate(parts)]


def _add_answer(result: message_pb2.Message, message: body.AssistantMessage, place: int) -> None:
    """What only an assistant's message has. Of its audio only the id counts in a request."""
    if message.refusal is not None:
        result.refusal = message.refusal
    if message.audio is not None:
        result.audio.id = message.audio.id
    path = f"messages[{place}]"
    for i, call in enumerate(message.tool_calls or ()):
        result.tool_calls.append(_tool_call(call, f"{path}.tool_calls[{i}]"))
    if message.function_call is not None:
        called = _function_call(message.function_call, f"{path}.function_call")
        result.function_call.CopyFrom(called)
    if message.reasoning_content is not None:
        result.reasoning_content = message.reasoning_content
    elif isinstance(message.reasoning, str):
        result.reasoning_content = message.reasoning
    if message.annotations:
        result.annotations.extend(_annotations(message.annotations, f"{path}.annotations"))


def _annotations(entries: Any, path: str) -> Iterator[message_pb2.Annotation]:
    """Those of kinds that are no citations: what they say, some servers must have back."""
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry and "url_citation" not in entry:
            yield message_pb2.Annotation(extra_json=json_text(entry, path))


def _tool_call(call: body.ToolCall, path: str) -> message_pb2.ToolCall:
    if isinstance(call, body.FunctionToolCall):
        function = _function_call(call.function, f"{path}.function")
        return with_extra(message_pb2.ToolCall(id=call.id, function=function), call, path)
    custom = message_pb2.CustomCall(name=call.custom.name, input=call.custom.input)
    return with_extra(message_pb2.ToolCall(id=call.id, custom=custom), call, path)


def _function_call(call: body.FunctionCall, path: str) -> message_pb2.FunctionCall:
    result = message_pb2.FunctionCall(name=call.name, arguments=call.arguments)
    return with_extra(result, call, path)


def _part(part: body.Part, path: str) -> message_pb2.ContentPart:
    result = message_pb2.ContentPart()
    match part:
        case body.TextPart():
            # Empty text is text, too: without this the part would be none at all.
            result.text.SetInParent()
            result.text.text = part.text
        case body.ImagePart(image_url=image):
            result.image_url.CopyFrom(message_pb2.ImagePart(url=image.url, detail=image.detail))
            with_extra(result.image_url, image, f"{path}.image_url")
        case body.InputAudioPart(input_audio=audio):
            result.input_audio.CopyFrom(
                message_pb2.InputAudioPart(data=audio.data, format=audio.format)
            )
            with_extra(result.input_audio, audio, f"{path}.input_audio")
        case body.FilePart(file=file):
            result.file.CopyFrom(
                message_pb2.FilePart(
                    file_data=file.file_data, file_id=file.file_id, filename=file.filename
                )
            )
            with_extra(result.file, file, f"{path}.file")
        case body.RefusalPart():
            result.refusal.SetInParent()
            result.refusal.refusal = part.refusal
        case body.OtherPart():
            whole = {"type": part.type, **(part.__pydantic_extra__ or {})}
            return message_pb2.ContentPart(other_json=json_text(whole, path))
    breakpoint_ = part.prompt_cache_breakpoint
    if breakpoint_ is not None:
        result.prompt_cache_breakpoint.mode = breakpoint_.mode
        if breakpoint_.ttl is not None:
            result.prompt_cache_breakpoint.ttl = breakpoint_.ttl
    return with_extra(result, part, path)
