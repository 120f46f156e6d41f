"""The request as an OpenAI-compatible upstream reads it: contract to JSON.

The inverse of the façade's mapping; a test drives random requests through both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf.message import Message

from diglot.v1 import chat_pb2, message_pb2, tool_pb2
from diglot.v1.message_pb2 import Role
from diglot.v1.tool_pb2 import ToolChoiceMode

from ..extra import Extended, read

Json = dict[str, Any]

ROLES = {value: name.removeprefix("ROLE_").lower() for name, value in Role.items() if value}
MODES = {
    value: name.removeprefix("TOOL_CHOICE_MODE_").lower()
    for name, value in ToolChoiceMode.items()
    if value
}

# For each field of a message its name, and how its value is written, if not as it is.
_Ways = dict[object, tuple[str, Callable[[Any], Any] | None]]


def to_json(request: chat_pb2.CreateChatCompletionRequest) -> Json:
    """Everything that the request says, its vendor keys included; `stream` is not in it."""
    body: Json = {"model": request.model, "messages": []}
    body |= _written(request, _OPTIONS)
    extra: Json = body.pop("extra_json", {})
    return extra | body


def present(message: Any, fields: tuple[str, ...]) -> Json:
    """Those of a message's optional fields that are set."""
    return {name: getattr(message, name) for name in fields if message.HasField(name)}


def beside(message: Extended) -> Json:
    """The keys of a part of the request that only engines know."""
    return read(message.extra_json) if message.HasField("extra_json") else {}


def _written(message: Message, ways: _Ways) -> Json:
    """What of a message is set. To ask for each of its many fields takes several times as long."""
    body: Json = {}
    for field, value in message.ListFields():
        name, written = ways[field]
        body[name] = value if written is None else written(value)
    return body


def _ways(kind: type[Message], **written: Callable[[Any], Any]) -> _Ways:
    return {field: (field.name, written.get(field.name)) for field in kind.DESCRIPTOR.fields}


def _biases(biases: Mapping[int, float]) -> Json:
    """An integer in OpenAI's API; some servers refuse 5.0."""
    return {str(token): int(bias) if bias.is_integer() else bias for token, bias in biases.items()}


def _messages(messages: Iterable[message_pb2.Message]) -> list[Json]:
    return [_message(message) for message in messages]


def _message(message: message_pb2.Message) -> Json:
    body = _written(message, _SAID)
    if "parts" in body:
        body["content"] = body.pop("parts")
    elif "content" not in body and body["role"] in ("assistant", "function"):
        body["content"] = None
    if "annotations" in body and not body["annotations"]:
        del body["annotations"]
    if "extra_json" in body:
        body |= body.pop("extra_json")
    return body


def _parts(parts: Iterable[message_pb2.ContentPart]) -> list[Json]:
    return [_part(part) for part in parts]


def _annotations(annotations: Iterable[message_pb2.Annotation]) -> list[Json]:
    """Citations no server reads, and some refuse; others may need those of their own."""
    return [beside(one) for one in annotations if not one.HasField("url_citation")]


def _part(part: message_pb2.ContentPart) -> Json:
    kind = part.WhichOneof("part")
    assert kind is not None, "validation lets no empty part through"
    if kind == "other_json":
        return read(part.other_json)
    body: Json = {"type": kind}
    match kind:
        case "text":
            body["text"] = part.text.text
        case "refusal":
            body["refusal"] = part.refusal.refusal
        case "image_url":
            image = part.image_url
            body[kind] = {"url": image.url} | present(image, ("detail",)) | beside(image)
        case "input_audio":
            sound = part.input_audio
            body[kind] = {"data": sound.data, "format": sound.format} | beside(sound)
        case "file":
            known = ("file_data", "file_id", "filename")
            body[kind] = present(part.file, known) | beside(part.file)
    if part.HasField("prompt_cache_breakpoint"):
        mark = part.prompt_cache_breakpoint
        body["prompt_cache_breakpoint"] = {"mode": mark.mode} | present(mark, ("ttl",))
    return body | beside(part)


def _tool_calls(calls: Iterable[message_pb2.ToolCall]) -> list[Json]:
    return [_tool_call(call) for call in calls]


def _tool_call(call: message_pb2.ToolCall) -> Json:
    if call.WhichOneof("call") == "custom":
        custom = {"name": call.custom.name, "input": call.custom.input}
        return {"id": call.id, "type": "custom", "custom": custom} | beside(call)
    function = _function_call(call.function)
    return {"id": call.id, "type": "function", "function": function} | beside(call)


def _function_call(call: message_pb2.FunctionCall) -> Json:
    return {"name": call.name, "arguments": call.arguments} | beside(call)


def _tools(tools: Iterable[tool_pb2.Tool]) -> list[Json]:
    return [_tool(tool) for tool in tools]


def _tool(tool: tool_pb2.Tool) -> Json:
    if tool.WhichOneof("tool") == "function":
        return {"type": "function", "function": _function(tool.function)} | beside(tool)
    custom = tool.custom
    body: Json = {"name": custom.name} | present(custom, ("description",))
    match custom.WhichOneof("format"):
        case "text":
            body["format"] = {"type": "text"}
        case "grammar":
            grammar = {"syntax": custom.grammar.syntax, "definition": custom.grammar.definition}
            body["format"] = {"type": "grammar", "grammar": grammar}
    return {"type": "custom", "custom": body | beside(custom)} | beside(tool)


def _functions(functions: Iterable[tool_pb2.FunctionDefinition]) -> list[Json]:
    return [_function(function) for function in functions]


def _function(function: tool_pb2.FunctionDefinition) -> Json:
    body: Json = {"name": function.name} | present(function, ("description",))
    if function.HasField("parameters_json"):
        body["parameters"] = json.loads(function.parameters_json)
    return body | present(function, ("strict",)) | beside(function)


def _tool_choice(choice: tool_pb2.ToolChoice) -> str | Json:
    match choice.WhichOneof("choice"):
        case "function_name":
            return {"type": "function", "function": {"name": choice.function_name}}
        case "custom_name":
            return {"type": "custom", "custom": {"name": choice.custom_name}}
        case "allowed_tools":
            tools = [json.loads(tool) for tool in choice.allowed_tools.tools_json]
            allowed = {"mode": MODES[choice.allowed_tools.mode], "tools": tools}
            return {"type": "allowed_tools", "allowed_tools": allowed}
    return MODES[choice.mode]


def _function_choice(option: chat_pb2.FunctionCallOption) -> str | Json:
    named = option.WhichOneof("choice") == "name"
    return {"name": option.name} if named else MODES[option.mode]


def _response_format(form: chat_pb2.ResponseFormat) -> Json:
    kind = form.WhichOneof("format")
    if kind != "json_schema":
        return {"type": kind} | beside(form)
    schema = form.json_schema
    body: Json = {"name": schema.name} | present(schema, ("description",))
    if schema.HasField("schema_json"):
        body["schema"] = json.loads(schema.schema_json)
    body |= present(schema, ("strict",))
    return {"type": kind, "json_schema": body | beside(schema)} | beside(form)


def _stream_options(options: chat_pb2.StreamOptions) -> Json:
    return present(options, ("include_usage", "include_obfuscation")) | beside(options)


def _audio(audio: chat_pb2.AudioOptions) -> Json:
    by_id = audio.WhichOneof("voice") == "voice_id"
    voice = {"id": audio.voice_id} if by_id else audio.voice_name
    return {"format": audio.format, "voice": voice}


def _prediction(expected: chat_pb2.Prediction) -> Json:
    content = expected.content if expected.HasField("content") else _parts(expected.parts)
    return {"type": "content", "content": content}


def _caching(options: chat_pb2.PromptCacheOptions) -> Json:
    return present(options, ("mode", "ttl"))


def _web_search(options: chat_pb2.WebSearchOptions) -> Json:
    body = present(options, ("search_context_size",))
    if options.HasField("user_location"):
        place = present(options.user_location, ("country", "region", "city", "timezone"))
        body["user_location"] = {"type": "approximate", "approximate": place}
    return body


def _moderation(options: chat_pb2.ModerationOptions) -> Json:
    body: Json = {"model": options.model}
    if options.HasField("policy"):
        body["policy"] = {
            side: present(getattr(options.policy, side), ("mode",))
            for side in ("input", "output")
            if options.policy.HasField(side)
        }
    return body


_SAID = _ways(
    message_pb2.Message,
    role=ROLES.__getitem__,
    parts=_parts,
    audio=lambda audio: {"id": audio.id},
    tool_calls=_tool_calls,
    function_call=_function_call,
    annotations=_annotations,
    extra_json=read,
)
_OPTIONS = _ways(
    chat_pb2.CreateChatCompletionRequest,
    messages=_messages,
    logit_bias=_biases,
    stop=list,
    stream_options=_stream_options,
    tools=_tools,
    tool_choice=_tool_choice,
    functions=_functions,
    function_call=_function_choice,
    response_format=_response_format,
    modalities=list,
    audio=_audio,
    prediction=_prediction,
    web_search_options=_web_search,
    moderation=_moderation,
    prompt_cache_options=_caching,
    metadata=dict,
    extra_json=json.loads,
)
