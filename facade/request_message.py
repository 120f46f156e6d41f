"""The messages of a chat completion request, as JSON has them.

Only what JSON can get wrong is checked here: types, missing keys, and which member of a
union is meant. What the values mean is the core's business. Unknown keys of messages, of
their parts and of calls are kept: clients replay answers with whatever their server put in, and
some servers must have it back. Elsewhere they are ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, FailFast, Field, Tag
from typing_extensions import TypeAliasType


class JsonObject(BaseModel):
    """A JSON object: no type is converted into another, unknown keys are ignored."""

    model_config = ConfigDict(
        strict=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True
    )


class OpenObject(JsonObject):
    """A JSON object whose unknown keys are kept, for engines that know them."""

    model_config = ConfigDict(extra="allow")


_T = TypeVar("_T")
# A body of millions of faults shall cost one error, not millions. The name makes it fit for
# unions, whose members must be hashable: FailFast is not.
Array = TypeAliasType("Array", Annotated[list[_T], FailFast()], type_params=(_T,))


class PromptCacheBreakpoint(JsonObject):
    mode: str
    ttl: str | None = None


class _Part(OpenObject):
    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None


class TextPart(_Part):
    type: Literal["text"]
    text: str


class ImageUrl(OpenObject):
    url: str
    detail: str | None = None


class ImagePart(_Part):
    type: Literal["image_url"]
    image_url: ImageUrl


class InputAudio(OpenObject):
    data: str
    format: str


class InputAudioPart(_Part):
    type: Literal["input_audio"]
    input_audio: InputAudio


class File(OpenObject):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(_Part):
    type: Literal["file"]
    file: File


class RefusalPart(_Part):
    type: Literal["refusal"]
    refusal: str


class OtherPart(OpenObject):
    """Of a type that OpenAI's API does not have, and an engine may."""

    type: str


_KNOWN_PARTS = frozenset({"text", "image_url", "input_audio", "file", "refusal"})
_OTHER = "other part"


def _kind(part: Any) -> str:
    """What has no type, or is no object, is found wrong where any type would do."""
    kind = part.get("type") if isinstance(part, dict) else None
    return kind if isinstance(kind, str) and kind in _KNOWN_PARTS else _OTHER


Part = Annotated[
    Annotated[TextPart, Tag("text")]
    | Annotated[ImagePart, Tag("image_url")]
    | Annotated[InputAudioPart, Tag("input_audio")]
    | Annotated[FilePart, Tag("file")]
    | Annotated[RefusalPart, Tag("refusal")]
    | Annotated[OtherPart, Tag(_OTHER)],
    Discriminator(_kind),
]


class FunctionCall(OpenObject):
    name: str
    arguments: str


class CustomCall(JsonObject):
    name: str
    input: str


class FunctionToolCall(OpenObject):
    type: Literal["function"]
    id: str
    function: FunctionCall


class CustomToolCall(OpenObject):
    type: Literal["custom"]
    id: str
    custom: CustomCall


ToolCall = Annotated[FunctionToolCall | CustomToolCall, Field(discriminator="type")]


class AudioReference(JsonObject):
    id: str


class DeveloperMessage(OpenObject):
    role: Literal["developer"]
    content: str | Array[Part]
    name: str | None = None


class SystemMessage(OpenObject):
    role: Literal["system"]
    content: str | Array[Part]
    name: str | None = None


class UserMessage(OpenObject):
    role: Literal["user"]
    content: str | Array[Part]
    name: str | None = None


class AssistantMessage(OpenObject):
    role: Literal["assistant"]
    content: str | Array[Part] | None = None
    name: str | None = None
    refusal: str | None = None
    audio: AudioReference | None = None
    tool_calls: Array[ToolCall] | None = None
    function_call: FunctionCall | None = None
    reasoning_content: str | None = None
    # Another spelling of reasoning_content; in some dialects an object, then ignored.
    reasoning: Any = None
    # Citations and whatever else a server said; clients replay them in any form.
    annotations: Any = None


class ToolMessage(OpenObject):
    role: Literal["tool"]
    content: str | Array[Part]
    tool_call_id: str


class FunctionMessage(OpenObject):
    role: Literal["function"]
    content: str | None
    name: str


Message = Annotated[
    DeveloperMessage
    | SystemMessage
    | UserMessage
    | AssistantMessage
    | ToolMessage
    | FunctionMessage,
    Field(discriminator="role"),
]
