"""The chat completion request, as JSON has it: all of OpenAI's fields.

Null means absent wherever a field may be absent.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, cast

from pydantic import Field, PlainValidator

from diglot.v1 import error_pb2

from .errors import Refusal
from .request_message import Array, JsonObject, Message, OpenObject, TextPart

# What the contract's integers hold. Narrower ranges are the core's.
_INT32_MIN, _INT32_MAX = -(2**31), 2**31 - 1
Int32 = Annotated[int, Field(ge=_INT32_MIN, le=_INT32_MAX)]
Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
# A JSON Schema, kept as it came.
Schema = dict[str, Any]

_TOKEN_ID = re.compile(r"-?[0-9]{1,10}")


def _object(param: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refusal.wrong_type(param, "an object", value)
    return value


# By hand, and not dict[str, str], to stop at the first fault of millions.
def _strings(value: object) -> dict[str, str]:
    for key, item in _object("metadata", value).items():
        if not isinstance(item, str):
            raise Refusal.wrong_type(f"metadata.{key[:64]}", "a string", item)
    return cast(dict[str, str], value)


def _biases(value: object) -> dict[int, float]:
    biases: dict[int, float] = {}
    for key, item in _object("logit_bias", value).items():
        param = f"logit_bias.{key[:64]}"
        if not _TOKEN_ID.fullmatch(key) or not _INT32_MIN <= int(key) <= _INT32_MAX:
            raise Refusal(
                error_pb2.ERROR_REASON_INVALID_VALUE,
                f"Invalid key in 'logit_bias': '{key[:64]}'. Keys are token ids: integers.",
                param,
            )
        if isinstance(item, bool) or not isinstance(item, int | float) or not abs(item) < 1e9:
            raise Refusal.wrong_type(param, "a number of reasonable size", item)
        biases[int(key)] = item
    return biases


class StreamOptions(OpenObject):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class FunctionDefinition(OpenObject):
    name: str
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None


class FunctionTool(OpenObject):
    type: Literal["function"]
    function: FunctionDefinition


class TextFormat(JsonObject):
    type: Literal["text"]


class Grammar(JsonObject):
    syntax: str
    definition: str


class GrammarFormat(JsonObject):
    type: Literal["grammar"]
    grammar: Grammar


class CustomDefinition(OpenObject):
    name: str
    description: str | None = None
    format: Annotated[TextFormat | GrammarFormat, Field(discriminator="type")] | None = None


class CustomTool(OpenObject):
    type: Literal["custom"]
    custom: CustomDefinition


Tool = Annotated[FunctionTool | CustomTool, Field(discriminator="type")]


class Named(JsonObject):
    name: str


class FunctionChoice(JsonObject):
    type: Literal["function"]
    function: Named


class CustomChoice(JsonObject):
    type: Literal["custom"]
    custom: Named


class AllowedTools(JsonObject):
    mode: Literal["auto", "required"]
    tools: Array[dict[str, Any]]


class AllowedToolsChoice(JsonObject):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ToolChoice = (
    Literal["none", "auto", "required"]
    | Annotated[FunctionChoice | CustomChoice | AllowedToolsChoice, Field(discriminator="type")]
)


class TextResponse(OpenObject):
    type: Literal["text"]


class JsonObjectResponse(OpenObject):
    type: Literal["json_object"]


class JsonSchema(OpenObject):
    name: str
    description: str | None = None
    schema_: Schema | None = Field(None, alias="schema")
    strict: bool | None = None


class JsonSchemaResponse(OpenObject):
    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[
    TextResponse | JsonObjectResponse | JsonSchemaResponse, Field(discriminator="type")
]


class Voice(JsonObject):
    id: str


class AudioOptions(JsonObject):
    format: str
    voice: str | Voice


class Prediction(JsonObject):
    type: Literal["content"]
    content: str | Array[TextPart]


class Place(JsonObject):
    country: str | None = None
    region: str | None = None
    city: str | None = None
    timezone: str | None = None


class UserLocation(JsonObject):
    type: Literal["approximate"]
    approximate: Place


class WebSearchOptions(JsonObject):
    search_context_size: str | None = None
    user_location: UserLocation | None = None


class ModerationRule(JsonObject):
    mode: str | None = None


class ModerationPolicy(JsonObject):
    input: ModerationRule | None = None
    output: ModerationRule | None = None


class ModerationOptions(JsonObject):
    model: str
    policy: ModerationPolicy | None = None


class PromptCacheOptions(JsonObject):
    mode: str | None = None
    ttl: str | None = None


class CompletionRequest(OpenObject):
    """The body of POST /v1/chat/completions."""

    model: str
    messages: Array[Message]

    audio: AudioOptions | None = None
    frequency_penalty: float | None = None
    function_call: Literal["none", "auto"] | Named | None = None
    functions: Array[FunctionDefinition] | None = None
    logit_bias: Annotated[dict[int, float], PlainValidator(_biases)] | None = None
    logprobs: bool | None = None
    max_completion_tokens: Int32 | None = None
    max_tokens: Int32 | None = None
    metadata: Annotated[dict[str, str], PlainValidator(_strings)] | None = None
    modalities: Array[str] | None = None
    moderation: ModerationOptions | None = None
    n: Int32 | None = None
    parallel_tool_calls: bool | None = None
    prediction: Prediction | None = None
    presence_penalty: float | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    prompt_cache_retention: str | None = None
    reasoning_effort: str | None = None
    response_format: ResponseFormat | None = None
    safety_identifier: str | None = None
    seed: Int64 | None = None
    service_tier: str | None = None
    stop: str | Array[str] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    tool_choice: ToolChoice | None = None
    tools: Array[Tool] | None = None
    top_logprobs: Int32 | None = None
    top_p: float | None = None
    user: str | None = None
    verbosity: str | None = None
    web_search_options: WebSearchOptions | None = None


class UpdateRequest(JsonObject):
    """The body of POST /v1/chat/completions/{completion_id}."""

    metadata: Annotated[dict[str, str], PlainValidator(_strings)] | None
