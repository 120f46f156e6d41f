"""The request as an OpenAI-compatible upstream reads it: contract to JSON.

The inverse of the façade's mapping; a test drives random requests through both.
"""

from __future__ import annotations

import json
from typing import Any

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

# Fields that stand in the contract as they stand in the JSON.
SCALARS = (
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "max_completion_tokens",
    "max_tokens",
    "n",
    "logprobs",
    "top_logprobs",
    "parallel_tool_calls",
    "reasoning_effort",
    "verbosity",
    "store",
    "safety_identifier",
    "user",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
)


def to_json(request: chat_pb2.CreateChatCompletionRequest) -> Json:
    """Everything that the request says, its vendor keys included; `stream` is not in it."""
    body: Json = json.loads(request.extra_json) if request.HasField("extra_json") else {}
    body["model"] = request.model
    body["messages"] = [_message(message) for message in request.messages]
    body |= present(request, SCALARS)
    if request.logit_bias:
        body["logit_bias"] = {str(token): _number(b) for token, b in request.logit_bias.items()}
    if request.stop:
        body["stop"] = list(request.stop)
    if request.HasField("stream_options"):
        options = request.stream_options
        body["stream_options"] = present(options, ("include_usage", "include_obfuscation"))
        body["stream_options"] |= beside(options)
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.HasField("tool_choice"):
        body["tool_choice"] = _tool_choice(request.tool_choice)
    if request.functions:
        body["functions"] = [_function(function) for function in request.functions]
    if request.HasField("function_call"):
        option = request.function_call
        named = option.WhichOneof("choice") == "name"
        body["function_call"] = {"name": option.name} if named else MODES[option.mode]
    if request.HasField("response_format"):
        body["response_format"] = _response_format(request.response_format)
    if request.modalities:
        body["modalities"] = list(request.modalities)
    if request.HasField("audio"):
        audio = request.audio
        by_id = audio.WhichOneof("voice") == "voice_id"
        voice = {"id": audio.voice_id} if by_id else audio.voice_name
        body["audio"] = {"format": audio.format, "voice": voice}
    if request.HasField("prediction"):
        body["prediction"] = {"type": "content", "content": _content(request.prediction)}
    if request.HasField("web_search_options"):
        body["web_search_options"] = _web_search(request.web_search_options)
    if request.HasField("moderation"):
        body["moderation"] = _moderation(request.moderation)
    if request.HasField("prompt_cache_options"):
        body["prompt_cache_options"] = present(request.prompt_cache_options, ("mode", "ttl"))
    if request.metadata:
        body["metadata"] = dict(request.metadata)
    return body


def present(message: Any, fields: tuple[str, ...]) -> Json:
    """Those of a message's optional fields that are set."""
    return {name: getattr(message, name) for name in fields if message.HasField(name)}


def beside(message: Extended) -> Json:
    """The keys of a part of the request that only engines know."""
    return read(message.extra_json) if message.HasField("extra_json") else {}


def _number(value: float) -> float | int:
    """A bias is an integer in OpenAI's API; some servers refuse 5.0."""
    return int(value) if value.is_integer() else value


def _message(message: message_pb2.Message) -> Json:
    body: Json = {"role": ROLES[message.role]}
    if message.HasField("content") or message.parts:
        body["content"] = _content(message)
    elif message.role in (message_pb2.ROLE_ASSISTANT, message_pb2.ROLE_FUNCTION):
        body["content"] = None
    body |= present(message, ("name", "refusal", "tool_call_id", "reasoning_content"))
    if message.HasField("audio"):
        body["audio"] = {"id": message.audio.id}
    if message.tool_calls:
        body["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
    if message.HasField("function_call"):
        call = message.function_call
        body["function_call"] = _function_call(call)
    # Citations no server reads, and some refuse; of other kinds they may need the upstream's own.
    if noted := [beside(one) for one in message.annotations if not one.HasField("url_citation")]:
        body["annotations"] = noted
    return body | beside(message)


def _content(holder: message_pb2.Message | chat_pb2.Prediction) -> str | list[Json]:
    if holder.HasField("content"):
        return holder.content
    return [_part(part) for part in holder.parts]


def _part(part: message_pb2.ContentPart) -> Json:
    kind = part.WhichOneof("part")
    assert kind is not None, "validation lets no empty part through"
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


def _tool_call(call: message_pb2.ToolCall) -> Json:
    if call.WhichOneof("call") == "custom":
        custom = {"name": call.custom.name, "input": call.custom.input}
        return {"id": call.id, "type": "custom", "custom": custom} | beside(call)
    function = _function_call(call.function)
    return {"id": call.id, "type": "function", "function": function} | beside(call)


def _function_call(call: message_pb2.FunctionCall) -> Json:
    return {"name": call.name, "arguments": call.arguments} | beside(call)


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
