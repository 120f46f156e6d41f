"""From the request as JSON has it to the request of the contract, field by field.

By hand, because the two differ in shape: where JSON has a union of types the contract has
several fields, and JSON Schemas stay JSON text, with the order of their keys and all the
digits of their numbers.
"""

from __future__ import annotations

import json
from typing import Any

from diglot.v1 import chat_pb2, error_pb2, tool_pb2

from . import request as body
from .errors import Refusal
from .message_to_contract import to_message, to_parts

_MODES = {
    "none": tool_pb2.TOOL_CHOICE_MODE_NONE,
    "auto": tool_pb2.TOOL_CHOICE_MODE_AUTO,
    "required": tool_pb2.TOOL_CHOICE_MODE_REQUIRED,
}


def to_contract(request: body.CompletionRequest) -> chat_pb2.CreateChatCompletionRequest:
    """Raises Refusal for a schema that holds a number which JSON cannot write."""
    return chat_pb2.CreateChatCompletionRequest(
        model=request.model,
        messages=[to_message(message) for message in request.messages],
        temperature=request.temperature,
        top_p=request.top_p,
        frequency_penalty=request.frequency_penalty,
        presence_penalty=request.presence_penalty,
        logit_bias=request.logit_bias,
        seed=request.seed,
        stop=[request.stop] if isinstance(request.stop, str) else request.stop,
        max_completion_tokens=request.max_completion_tokens,
        max_tokens=request.max_tokens,
        n=request.n,
        logprobs=request.logprobs,
        top_logprobs=request.top_logprobs,
        stream_options=_stream_options(request.stream_options),
        tools=[_tool(tool, f"tools[{i}]") for i, tool in enumerate(request.tools or ())],
        tool_choice=_tool_choice(request.tool_choice),
        parallel_tool_calls=request.parallel_tool_calls,
        functions=[
            _function(function, f"functions[{i}]")
            for i, function in enumerate(request.functions or ())
        ],
        function_call=_function_call(request.function_call),
        response_format=_response_format(request.response_format),
        reasoning_effort=request.reasoning_effort,
        verbosity=request.verbosity,
        modalities=request.modalities,
        audio=_audio(request.audio),
        prediction=_prediction(request.prediction),
        web_search_options=_web_search(request.web_search_options),
        moderation=_moderation(request.moderation),
        store=request.store,
        metadata=request.metadata,
        safety_identifier=request.safety_identifier,
        user=request.user,
        prompt_cache_key=request.prompt_cache_key,
        prompt_cache_options=_prompt_cache(request.prompt_cache_options),
        prompt_cache_retention=request.prompt_cache_retention,
        service_tier=request.service_tier,
        extra_json=_json(request.model_extra or None, None),
    )


def _stream_options(options: body.StreamOptions | None) -> chat_pb2.StreamOptions | None:
    if options is None:
        return None
    return chat_pb2.StreamOptions(
        include_usage=options.include_usage, include_obfuscation=options.include_obfuscation
    )


def _json(value: dict[str, Any] | None, param: str | None) -> str | None:
    if value is None:
        return None
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:  # 1e999 reads as infinity
        raise Refusal(
            error_pb2.ERROR_REASON_INVALID_VALUE,
            f"Invalid value{f' in {param!r}' if param else ''}: a number is too large.",
            param,
        ) from None


def _function(function: body.FunctionDefinition, path: str) -> tool_pb2.FunctionDefinition:
    return tool_pb2.FunctionDefinition(
        name=function.name,
        description=function.description,
        parameters_json=_json(function.parameters, f"{path}.parameters"),
        strict=function.strict,
    )


def _tool(tool: body.FunctionTool | body.CustomTool, path: str) -> tool_pb2.Tool:
    if isinstance(tool, body.FunctionTool):
        return tool_pb2.Tool(function=_function(tool.function, f"{path}.function"))
    custom = tool_pb2.CustomTool(name=tool.custom.name, description=tool.custom.description)
    match tool.custom.format:
        case body.TextFormat():
            custom.text.SetInParent()
        case body.GrammarFormat(grammar=grammar):
            custom.grammar.syntax = grammar.syntax
            custom.grammar.definition = grammar.definition
    return tool_pb2.Tool(custom=custom)


def _tool_choice(choice: body.ToolChoice | None) -> tool_pb2.ToolChoice | None:
    match choice:
        case None:
            return None
        case str():
            return tool_pb2.ToolChoice(mode=_MODES[choice])
        case body.FunctionChoice():
            return tool_pb2.ToolChoice(function_name=choice.function.name)
        case body.CustomChoice():
            return tool_pb2.ToolChoice(custom_name=choice.custom.name)
        case body.AllowedToolsChoice(allowed_tools=allowed):
            tools = [
                _json(tool, f"tool_choice.allowed_tools.tools[{i}]") or ""
                for i, tool in enumerate(allowed.tools)
            ]
            return tool_pb2.ToolChoice(
                allowed_tools=tool_pb2.AllowedTools(mode=_MODES[allowed.mode], tools_json=tools)
            )


def _function_call(choice: str | body.Named | None) -> chat_pb2.FunctionCallOption | None:
    if choice is None:
        return None
    if isinstance(choice, str):
        return chat_pb2.FunctionCallOption(mode=_MODES[choice])
    return chat_pb2.FunctionCallOption(name=choice.name)


def _response_format(form: body.ResponseFormat | None) -> chat_pb2.ResponseFormat | None:
    match form:
        case None:
            return None
        case body.TextResponse():
            return chat_pb2.ResponseFormat(text=chat_pb2.TextResponse())
        case body.JsonObjectResponse():
            return chat_pb2.ResponseFormat(json_object=chat_pb2.JsonObjectResponse())
        case body.JsonSchemaResponse(json_schema=schema):
            return chat_pb2.ResponseFormat(
                json_schema=chat_pb2.JsonSchemaResponse(
                    name=schema.name,
                    description=schema.description,
                    schema_json=_json(schema.schema_, "response_format.json_schema.schema"),
                    strict=schema.strict,
                )
            )


def _audio(audio: body.AudioOptions | None) -> chat_pb2.AudioOptions | None:
    if audio is None:
        return None
    if isinstance(audio.voice, str):
        return chat_pb2.AudioOptions(format=audio.format, voice_name=audio.voice)
    return chat_pb2.AudioOptions(format=audio.format, voice_id=audio.voice.id)


def _prediction(prediction: body.Prediction | None) -> chat_pb2.Prediction | None:
    if prediction is None:
        return None
    if isinstance(prediction.content, str):
        return chat_pb2.Prediction(content=prediction.content)
    return chat_pb2.Prediction(parts=to_parts(prediction.content))


def _web_search(options: body.WebSearchOptions | None) -> chat_pb2.WebSearchOptions | None:
    if options is None:
        return None
    result = chat_pb2.WebSearchOptions(search_context_size=options.search_context_size)
    if options.user_location is not None:
        place = options.user_location.approximate
        result.user_location.CopyFrom(
            chat_pb2.ApproximateLocation(
                country=place.country, region=place.region, city=place.city, timezone=place.timezone
            )
        )
    return result


def _moderation(options: body.ModerationOptions | None) -> chat_pb2.ModerationOptions | None:
    if options is None:
        return None
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


def _prompt_cache(options: body.PromptCacheOptions | None) -> chat_pb2.PromptCacheOptions | None:
    if options is None:
        return None
    return chat_pb2.PromptCacheOptions(mode=options.mode, ttl=options.ttl)
