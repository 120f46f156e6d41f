"""From the request as JSON has it to the request of the contract, field by field.

By hand, because the two differ in shape: where JSON has a union of types the contract has
several fields, and JSON Schemas stay JSON text, with the order of their keys and all the
digits of their numbers.
"""

from __future__ import annotations

from diglot.v1 import chat_pb2, tool_pb2

from . import request as body
from .extra import json_text, with_extra
from .message_to_contract import fill_message, to_parts

_MODES = {
    "none": tool_pb2.TOOL_CHOICE_MODE_NONE,
    "auto": tool_pb2.TOOL_CHOICE_MODE_AUTO,
    "required": tool_pb2.TOOL_CHOICE_MODE_REQUIRED,
}


# Fields that are the same on both sides, name and value.
_SAME = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "modalities",
        "model",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "safety_identifier",
        "seed",
        "service_tier",
        "store",
        "temperature",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
    }
)
_USUAL = _SAME | {"messages", "stream"}


def to_contract(request: body.CompletionRequest) -> chat_pb2.CreateChatCompletionRequest:
    """Raises Refusal for a number, in a schema or an unknown key, that JSON cannot write."""
    given = request.model_fields_set
    fields = vars(request)  # an attribute takes five times as long
    # protobuf takes None for absent, as we do.
    same = {name: fields[name] for name in given if name in _SAME}
    result = chat_pb2.CreateChatCompletionRequest(**same)
    add = result.messages.add
    for i, message in enumerate(fields["messages"]):
        fill_message(add(), message, i)
    if not given <= _USUAL:
        _add_rest(result, request)
    return result


def _add_rest(
    result: chat_pb2.CreateChatCompletionRequest, request: body.CompletionRequest
) -> None:
    if request.stop is not None:
        result.stop.extend([request.stop] if isinstance(request.stop, str) else request.stop)
    for i, tool in enumerate(request.tools or ()):
        result.tools.append(_tool(tool, f"tools[{i}]"))
    for i, function in enumerate(request.functions or ()):
        result.functions.append(_function(function, f"functions[{i}]"))
    if request.tool_choice is not None:
        result.tool_choice.CopyFrom(_tool_choice(request.tool_choice))
    if request.function_call is not None:
        result.function_call.CopyFrom(_function_call(request.function_call))
    if request.response_format is not None:
        result.response_format.CopyFrom(_response_format(request.response_format))
    if request.stream_options is not None:
        result.stream_options.CopyFrom(_stream_options(request.stream_options))
    if request.audio is not None:
        result.audio.CopyFrom(_audio(request.audio))
    if request.prediction is not None:
        result.prediction.CopyFrom(_prediction(request.prediction))
    if request.web_search_options is not None:
        result.web_search_options.CopyFrom(_web_search(request.web_search_options))
    if request.moderation is not None:
        result.moderation.CopyFrom(_moderation(request.moderation))
    if request.prompt_cache_options is not None:
        result.prompt_cache_options.CopyFrom(_prompt_cache(request.prompt_cache_options))
    if request.model_extra:
        result.extra_json = json_text(request.model_extra, None)


def _stream_options(options: body.StreamOptions) -> chat_pb2.StreamOptions:
    result = chat_pb2.StreamOptions(
        include_usage=options.include_usage, include_obfuscation=options.include_obfuscation
    )
    return with_extra(result, options, "stream_options")


def _function(function: body.FunctionDefinition, path: str) -> tool_pb2.FunctionDefinition:
    result = tool_pb2.FunctionDefinition(
        name=function.name, description=function.description, strict=function.strict
    )
    if function.parameters is not None:
        result.parameters_json = json_text(function.parameters, f"{path}.parameters")
    return with_extra(result, function, path)


def _tool(tool: body.FunctionTool | body.CustomTool, path: str) -> tool_pb2.Tool:
    if isinstance(tool, body.FunctionTool):
        function = _function(tool.function, f"{path}.function")
        return with_extra(tool_pb2.Tool(function=function), tool, path)
    custom = tool_pb2.CustomTool(name=tool.custom.name, description=tool.custom.description)
    match tool.custom.format:
        case body.TextFormat():
            custom.text.SetInParent()
        case body.GrammarFormat(grammar=grammar):
            custom.grammar.syntax = grammar.syntax
            custom.grammar.definition = grammar.definition
    with_extra(custom, tool.custom, f"{path}.custom")
    return with_extra(tool_pb2.Tool(custom=custom), tool, path)


def _tool_choice(choice: body.ToolChoice) -> tool_pb2.ToolChoice:
    match choice:
        case str():
            return tool_pb2.ToolChoice(mode=_MODES[choice])
        case body.FunctionChoice():
            return tool_pb2.ToolChoice(function_name=choice.function.name)
        case body.CustomChoice():
            return tool_pb2.ToolChoice(custom_name=choice.custom.name)
        case body.AllowedToolsChoice(allowed_tools=allowed):
            tools = [
                json_text(tool, f"tool_choice.allowed_tools.tools[{i}]")
                for i, tool in enumerate(allowed.tools)
            ]
            return tool_pb2.ToolChoice(
                allowed_tools=tool_pb2.AllowedTools(mode=_MODES[allowed.mode], tools_json=tools)
            )


def _function_call(choice: str | body.Named) -> chat_pb2.FunctionCallOption:
    if isinstance(choice, str):
        return chat_pb2.FunctionCallOption(mode=_MODES[choice])
    return chat_pb2.FunctionCallOption(name=choice.name)


def _response_format(form: body.ResponseFormat) -> chat_pb2.ResponseFormat:
    result = chat_pb2.ResponseFormat()
    match form:
        case body.TextResponse():
            result.text.SetInParent()
        case body.JsonObjectResponse():
            result.json_object.SetInParent()
        case body.JsonSchemaResponse(json_schema=asked):
            schema = chat_pb2.JsonSchemaResponse(
                name=asked.name, description=asked.description, strict=asked.strict
            )
            if asked.schema_ is not None:
                schema.schema_json = json_text(asked.schema_, "response_format.json_schema.schema")
            with_extra(schema, asked, "response_format.json_schema")
            result.json_schema.CopyFrom(schema)
    return with_extra(result, form, "response_format")


def _audio(audio: body.AudioOptions) -> chat_pb2.AudioOptions:
    if isinstance(audio.voice, str):
        return chat_pb2.AudioOptions(format=audio.format, voice_name=audio.voice)
    return chat_pb2.AudioOptions(format=audio.format, voice_id=audio.voice.id)


def _prediction(prediction: body.Prediction) -> chat_pb2.Prediction:
    if isinstance(prediction.content, str):
        return chat_pb2.Prediction(content=prediction.content)
    return chat_pb2.Prediction(parts=to_parts(prediction.content, "prediction"))


def _web_search(options: body.WebSearchOptions) -> chat_pb2.WebSearchOptions:
    result = chat_pb2.WebSearchOptions(search_context_size=options.search_context_size)
    if options.user_location is not None:
        place = options.user_location.approximate
        result.user_location.CopyFrom(
            chat_pb2.ApproximateLocation(
                country=place.country, region=place.region, city=place.city, timezone=place.timezone
            )
        )
    return result


def _moderation(options: body.ModerationOptions) -> chat_pb2.ModerationOptions:
    result = chat_pb2.ModerationOptions(model=options.model)
    if options.policy is not None:
        result.policy.SetInParent()
        if options.policy.input is not None:
            result.policy.input.CopyFrom(_rule(options.policy.input))
        if options.policy.output is not None:
            result.policy.output.CopyFrom(_rule(options.policy.output))
    return result


def _rule(rule: body.ModerationRule) -> chat_pb2.ModerationRule:
    return chat_pb2.ModerationRule(mode=rule.mode)


def _prompt_cache(options: body.PromptCacheOptions) -> chat_pb2.PromptCacheOptions:
    return chat_pb2.PromptCacheOptions(mode=options.mode, ttl=options.ttl)
