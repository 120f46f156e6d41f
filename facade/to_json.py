"""From the contract's answers to the JSON that OpenAI would write.

Keys are there or absent exactly as in OpenAI's own answers: clients check for both.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, TypeVar

from google.protobuf.message import Message
from pydantic_core import to_json

from diglot.presence import has
from diglot.v1 import completion_pb2, message_pb2, model_pb2

from .extra import beside

Json = dict[str, Any]
_M = TypeVar("_M", bound=Message)

FINISH_REASONS: dict[int, str] = {
    completion_pb2.FINISH_REASON_STOP: "stop",
    completion_pb2.FINISH_REASON_LENGTH: "length",
    completion_pb2.FINISH_REASON_TOOL_CALLS: "tool_calls",
    completion_pb2.FINISH_REASON_CONTENT_FILTER: "content_filter",
    completion_pb2.FINISH_REASON_FUNCTION_CALL: "function_call",
}
ROLES: dict[int, str] = {
    message_pb2.ROLE_DEVELOPER: "developer",
    message_pb2.ROLE_SYSTEM: "system",
    message_pb2.ROLE_USER: "user",
    message_pb2.ROLE_ASSISTANT: "assistant",
    message_pb2.ROLE_TOOL: "tool",
    message_pb2.ROLE_FUNCTION: "function",
}


dumps: Callable[[Json], bytes] = to_json
"""Compact."""


def completion(answer: completion_pb2.ChatCompletion) -> Json:
    """Raises ValueError, like all that may hold numbers of anybody's making, for one that JSON
    cannot write."""
    result: Json = {
        "id": answer.id,
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        # A slice is a list: several times faster to go through than protobuf's own containers.
        "choices": [_choice(choice) for choice in answer.choices[:]],
    }
    if has(answer, "usage"):
        result["usage"] = usage(answer.usage)
    if has(answer, "service_tier"):
        result["service_tier"] = answer.service_tier
    result["system_fingerprint"] = (
        answer.system_fingerprint if has(answer, "system_fingerprint") else None
    )
    if metadata := answer.metadata:
        result["metadata"] = dict(metadata)
    if has(answer, "moderation"):
        result["moderation"] = moderation(answer.moderation)
    if has(answer, "extra_json"):
        beside(result, answer)
    return result


def model(answer: model_pb2.Model) -> Json:
    return {
        "id": answer.id,
        "object": "model",
        "created": answer.created,
        "owned_by": answer.owned_by,
    }


def models(answer: model_pb2.ListModelsResponse) -> Json:
    return {"object": "list", "data": [model(one) for one in answer.models]}


def _choice(choice: completion_pb2.Choice) -> Json:
    result: Json = {
        "index": choice.index,
        "message": message(choice.message),
        "logprobs": logprobs(choice.logprobs) if has(choice, "logprobs") else None,
        "finish_reason": FINISH_REASONS.get(choice.finish_reason),
    }
    if has(choice, "extra_json"):
        beside(result, choice)
    return result


def message(message: message_pb2.Message) -> Json:
    result: Json = {
        "role": ROLES.get(message.role, "assistant"),
        "content": message.content if has(message, "content") else None,
    }
    if has(message, "reasoning_content"):
        result["reasoning_content"] = message.reasoning_content
    result["refusal"] = message.refusal if has(message, "refusal") else None
    annotations = message.annotations
    result["annotations"] = [annotation(one) for one in annotations] if annotations else []
    if calls := message.tool_calls:
        result["tool_calls"] = [_tool_call(call) for call in calls]
    if has(message, "function_call"):
        result["function_call"] = _function_call(message.function_call)
    if has(message, "audio"):
        result["audio"] = {
            "id": message.audio.id,
            "data": message.audio.data,
            "expires_at": message.audio.expires_at,
            "transcript": message.audio.transcript,
        }
    if has(message, "extra_json"):
        beside(result, message)
    return result


def _tool_call(call: message_pb2.ToolCall) -> Json:
    if call.HasField("custom"):
        custom = {"name": call.custom.name, "input": call.custom.input}
        return beside({"id": call.id, "type": "custom", "custom": custom}, call)
    function = _function_call(call.function)
    return beside({"id": call.id, "type": "function", "function": function}, call)


def _function_call(call: message_pb2.FunctionCall) -> Json:
    return beside({"name": call.name, "arguments": call.arguments}, call)


def annotation(one: message_pb2.Annotation) -> Json:
    if not one.HasField("url_citation"):
        return beside({}, one)
    citation = one.url_citation
    body: Json = {
        "start_index": citation.start_index,
        "end_index": citation.end_index,
        "url": citation.url,
        "title": citation.title,
    }
    return beside({"type": "url_citation", "url_citation": beside(body, citation)}, one)


def logprobs(probabilities: completion_pb2.ChoiceLogprobs) -> Json:
    content = [_token(token) for token in probabilities.content]
    refusal = [_token(token) for token in probabilities.refusal]
    # An answer of no tokens still has its (empty) list; null says that there is the other.
    return {"content": content if content or not refusal else None, "refusal": refusal or None}


def _token(token: completion_pb2.TokenLogprob) -> Json:
    return {**_top(token), "top_logprobs": [_top(top) for top in token.top_logprobs]}


def _top(token: completion_pb2.TokenLogprob | completion_pb2.TopLogprob) -> Json:
    result: Json = {
        "token": token.token,
        "logprob": _finite(token.logprob),
        "bytes": list(token.bytes) if has(token, "bytes") else None,
    }
    if has(token, "extra_json"):
        beside(result, token)
    return result


def _finite(number: float) -> float:
    if not isfinite(number):
        raise ValueError(f"JSON cannot write {number}")
    return number


def usage(spent: completion_pb2.Usage) -> Json:
    result: Json = {
        "prompt_tokens": spent.prompt_tokens,
        "completion_tokens": spent.completion_tokens,
        "total_tokens": spent.total_tokens,
    }
    if has(spent, "prompt_tokens_details"):
        result["prompt_tokens_details"] = _counts(spent.prompt_tokens_details)
    if has(spent, "completion_tokens_details"):
        result["completion_tokens_details"] = _counts(spent.completion_tokens_details)
    if has(spent, "extra_json"):
        beside(result, spent)
    return result


def _counts(details: Message) -> Json:
    known = {
        field.name: count for field, count in details.ListFields() if field.name != "extra_json"
    }
    return beside(known, details)


def moderation(verdict: completion_pb2.Moderation) -> Json:
    return {
        "input": _if_set(verdict, "input", verdict.input, _outcome),
        "output": _if_set(verdict, "output", verdict.output, _outcome),
    }


def _if_set(parent: Message, name: str, value: _M, to_json: Callable[[_M], Json]) -> Json | None:
    return to_json(value) if parent.HasField(name) else None


def _outcome(outcome: completion_pb2.ModerationOutcome) -> Json:
    if outcome.HasField("error"):
        return {"type": "error", "code": outcome.error.code, "message": outcome.error.message}
    results = [
        {
            "type": "moderation_result",
            "model": result.model,
            "flagged": result.flagged,
            "categories": dict(result.categories),
            "category_scores": {
                category: _finite(score) for category, score in result.category_scores.items()
            },
            "category_applied_input_types": {
                category: list(types.types)
                for category, types in result.category_applied_input_types.items()
            },
        }
        for result in outcome.results.results
    ]
    return {"type": "moderation_results", "model": outcome.results.model, "results": results}
