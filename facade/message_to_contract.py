"""From messages as JSON has them to messages of the contract."""

from __future__ import annotations

from collections.abc import Iterable

from diglot.v1 import message_pb2

from . import request_message as body

_ROLES = {
    "developer": message_pb2.ROLE_DEVELOPER,
    "system": message_pb2.ROLE_SYSTEM,
    "user": message_pb2.ROLE_USER,
    "assistant": message_pb2.ROLE_ASSISTANT,
    "tool": message_pb2.ROLE_TOOL,
    "function": message_pb2.ROLE_FUNCTION,
}


def to_message(message: body.Message) -> message_pb2.Message:
    result = message_pb2.Message(role=_ROLES[message.role])
    content = message.content
    if isinstance(content, str):
        result.content = content
    elif content is not None:
        result.parts.extend(to_parts(content))
    if isinstance(message, body.ToolMessage):
        result.tool_call_id = message.tool_call_id
    elif message.name is not None:
        result.name = message.name
    if isinstance(message, body.AssistantMessage):
        _add_answer(result, message)
    return result


def to_parts(parts: Iterable[body.Part]) -> list[message_pb2.ContentPart]:
    return [_part(part) for part in parts]


def _add_answer(result: message_pb2.Message, message: body.AssistantMessage) -> None:
    """What only an assistant's message has. Of its audio only the id counts in a request."""
    if message.refusal is not None:
        result.refusal = message.refusal
    if message.audio is not None:
        result.audio.id = message.audio.id
    result.tool_calls.extend(_tool_call(call) for call in message.tool_calls or ())
    if message.function_call is not None:
        result.function_call.CopyFrom(_function_call(message.function_call))
    if message.reasoning_content is not None:
        result.reasoning_content = message.reasoning_content
    elif isinstance(message.reasoning, str):
        result.reasoning_content = message.reasoning


def _tool_call(call: body.ToolCall) -> message_pb2.ToolCall:
    if isinstance(call, body.FunctionToolCall):
        return message_pb2.ToolCall(id=call.id, function=_function_call(call.function))
    custom = message_pb2.CustomCall(name=call.custom.name, input=call.custom.input)
    return message_pb2.ToolCall(id=call.id, custom=custom)


def _function_call(call: body.FunctionCall) -> message_pb2.FunctionCall:
    return message_pb2.FunctionCall(name=call.name, arguments=call.arguments)


def _part(part: body.Part) -> message_pb2.ContentPart:
    result = message_pb2.ContentPart()
    match part:
        case body.TextPart():
            # Empty text is text, too: without this the part would be none at all.
            result.text.SetInParent()
            result.text.text = part.text
        case body.ImagePart(image_url=image):
            result.image_url.CopyFrom(message_pb2.ImagePart(url=image.url, detail=image.detail))
        case body.InputAudioPart(input_audio=audio):
            result.input_audio.CopyFrom(
                message_pb2.InputAudioPart(data=audio.data, format=audio.format)
            )
        case body.FilePart(file=file):
            result.file.CopyFrom(
                message_pb2.FilePart(
                    file_data=file.file_data, file_id=file.file_id, filename=file.filename
                )
            )
        case body.RefusalPart():
            result.refusal.SetInParent()
            result.refusal.refusal = part.refusal
    breakpoint_ = part.prompt_cache_breakpoint
    if breakpoint_ is not None:
        result.prompt_cache_breakpoint.mode = breakpoint_.mode
        if breakpoint_.ttl is not None:
            result.prompt_cache_breakpoint.ttl = breakpoint_.ttl
    return result
