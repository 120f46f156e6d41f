"""What the reference says of fields: from the contract, or here where JSON differs from it.

SOURCES   whose comments describe an object's fields, if not a message of its own name
TEXTS     the words where the contract's would be wrong or are missing
LIMITS    what the core enforces beyond types
"""

from __future__ import annotations

from typing import Any, TypeAlias

from .openapi_comments import comments

Schema: TypeAlias = dict[str, Any]

SOURCES: dict[str, tuple[str, ...]] = {
    "AnswerMessage": ("Message",),
    "AssistantMessage": ("Message",),
    "AudioReference": ("Audio",),
    "CompletionList": ("ListChatCompletionsResponse",),
    "CompletionRequest": ("CreateChatCompletionRequest",),
    "CustomDefinition": ("CustomTool",),
    "CustomTool": ("Tool",),
    "CustomToolCall": ("ToolCall",),
    "DeletedCompletion": ("DeleteChatCompletionResponse",),
    "DeveloperMessage": ("Message",),
    "File": ("FilePart",),
    "FilePart": ("ContentPart",),
    "FunctionMessage": ("Message",),
    "FunctionTool": ("Tool",),
    "FunctionToolCall": ("ToolCall",),
    "GrammarFormat": ("CustomTool",),
    "ImagePart": ("ContentPart",),
    "ImageUrl": ("ImagePart",),
    "InputAudio": ("InputAudioPart",),
    "InputAudioPart": ("ContentPart",),
    "JsonSchema": ("JsonSchemaResponse",),
    "JsonSchemaResponse": ("ResponseFormat",),
    "ModelList": ("ListModelsResponse",),
    "Named": ("FunctionCallOption",),
    "Place": ("ApproximateLocation",),
    "RefusalPart": ("RefusalPart", "ContentPart"),
    "StoredMessage": ("StoredMessage", "Message"),
    "StoredMessageList": ("ListChatCompletionMessagesResponse",),
    "SystemMessage": ("Message",),
    "TextPart": ("TextPart", "ContentPart"),
    "ToolMessage": ("Message",),
    "UserMessage": ("Message",),
    "Voice": ("AudioOptions",),
}

_CONTENT = "The text, or a list of parts. A list of one text part stays a list."
_SPEAKER = "The participant's name, to tell apart speakers of one role."
_TOOL_NAME = "1 to 64 letters, digits, underscores or dashes."

TEXTS: dict[str, str] = {
    "AllowedTools.mode": "auto: the model decides; required: it must call at least one.",
    "AllowedTools.tools": 'The tools, each as {"type": "function", "function": {"name": "…"}}.',
    "AllowedToolsChoice.allowed_tools": "Only these of the request's tools count.",
    "AnswerMessage.content": "The text; null where there is none, as beside tool calls.",
    "AnswerMessage.role": "Always assistant.",
    "AssistantMessage.content": _CONTENT + " Needed unless the message has something else.",
    "AssistantMessage.name": _SPEAKER,
    "AssistantMessage.reasoning": "Another spelling of reasoning_content.",
    "AudioOptions.voice": "A voice by name, for example alloy, or by the id of one's own.",
    "Choice.logprobs": "The probabilities of its tokens, if the request asked for them.",
    "ChunkChoice.finish_reason": "Why the model stopped; null but on the answer's last chunk.",
    "ChunkChoice.logprobs": "The probabilities of the tokens in this very chunk, if asked for.",
    "CompletionList.data": "The completions.",
    "CompletionList.first_id": "The first one's id; null if there is none.",
    "CompletionList.last_id": "The last one's id, for `after`; null if there is none.",
    "CompletionRequest.function_call": "Deprecated by OpenAI: whether and which function to call.",
    "CompletionRequest.model": "The model's id, as GET /v1/models gives it.",
    "CompletionRequest.stop": "Up to four strings at which the answer ends, or one; it does not "
    "contain them.",
    "CompletionRequest.stream": "Whether to send the answer while it grows, as server-sent "
    "events. Default no.",
    "CompletionRequest.stream_options": "What a stream carries besides the answer. Refused "
    "without stream.",
    "CompletionRequest.tool_choice": "Whether and which tools to call. Default: auto if the "
    "request has tools, else none.",
    "CompletionRequest.modalities": "What the answer may be: text, audio. Default text.",
    "CustomChoice.custom": "The custom tool that must be called.",
    "CustomDefinition.format": "What the input looks like. Absent means any text.",
    "DeletedCompletion.deleted": "Always true.",
    "Delta.role": "Who speaks: assistant, once, on the answer's first chunk.",
    "DeveloperMessage.content": _CONTENT,
    "DeveloperMessage.name": _SPEAKER,
    "Error.code": "A name of the fault, for programs.",
    "Error.message": "What is wrong, for people.",
    "Error.param": "The place in the request, for example messages[0].content.",
    "Error.type": "The kind of fault.",
    "ErrorResponse.error": "What is wrong.",
    "FunctionChoice.function": "The function that must be called.",
    "FunctionDefinition.parameters": "The JSON Schema of the arguments. Absent: the function "
    "takes none.",
    "FunctionMessage.content": "What the function returned.",
    "FunctionMessage.name": "The function's name.",
    "Health.status": "ok.",
    "JsonSchema.schema": "The JSON Schema; its key order is the order in which the answer is "
    "written. Absent means any JSON.",
    "ModelList.data": "The models, in the order of the configuration.",
    "Named.name": "Its name.",
    "OtherPart.type": "A type that OpenAI's API does not have, and the model's server may: "
    "video_url, audio_url, image_embeds, … The part goes there as it is. Embedded models and "
    "Anthropic's refuse it.",
    "Prediction.content": "The text, as one string or as text parts.",
    "Readiness.status": "ready.",
    "StoredMessage.content": "The text, where the message had one string.",
    "StoredMessage.content_parts": "The content, where the message had a list of parts.",
    "StoredMessage.name": "The participant's name, or the function's.",
    "StoredMessage.role": "Who speaks.",
    "StoredMessage.tool_call_id": "The id of the call that this answers.",
    "StoredMessageList.data": "The messages.",
    "StoredMessageList.first_id": "The first one's id; null if there is none.",
    "StoredMessageList.last_id": "The last one's id, for `after`; null if there is none.",
    "SystemMessage.content": _CONTENT,
    "SystemMessage.name": _SPEAKER,
    "TokenLogprob.bytes": "The token's UTF-8 bytes, exact also where `token` is not; null if it "
    "has none.",
    "ToolMessage.content": "What the tool returned. " + _CONTENT,
    "ToolMessage.tool_call_id": "The id of the call that this answers.",
    "UpdateRequest.metadata": "The new metadata, all of it; null clears it.",
    "UserLocation.approximate": "A rough place.",
    "UserMessage.content": _CONTENT,
    "UserMessage.name": _SPEAKER,
    "Voice.id": "The voice's id.",
    "WebSearchOptions.user_location": "Where the asker is, roughly.",
}

_NAME: Schema = {"pattern": "^[A-Za-z0-9_-]{1,64}$"}
_TEXT_PART: Schema = {"$ref": "#/components/schemas/TextPart"}
_OTHER_PART: Schema = {"$ref": "#/components/schemas/OtherPart"}
_TEXT_PARTS: Schema = {"minItems": 1, "items": {"oneOf": [_TEXT_PART, _OTHER_PART]}}
_METADATA: Schema = {
    "type": ["object", "null"],
    "maxProperties": 16,
    "propertyNames": {"minLength": 1, "maxLength": 64},
    "additionalProperties": {"type": "string", "maxLength": 512},
}
_TOKENS: Schema = {"minimum": 1, "maximum": 2**31 - 1}

LIMITS: dict[str, Schema] = {
    "AllowedTools.tools": {"minItems": 1},
    "AssistantMessage.content": {
        "items": {"oneOf": [_TEXT_PART, {"$ref": "#/components/schemas/RefusalPart"}, _OTHER_PART]}
    },
    "CompletionRequest.frequency_penalty": {"minimum": -2, "maximum": 2},
    "CompletionRequest.functions": {"maxItems": 128},
    "CompletionRequest.logit_bias": {
        "type": ["object", "null"],
        "propertyNames": {"pattern": "^[0-9]{1,10}$"},
        "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
    },
    "CompletionRequest.max_completion_tokens": _TOKENS,
    "CompletionRequest.max_tokens": _TOKENS,
    "CompletionRequest.messages": {"minItems": 1},
    "CompletionRequest.metadata": _METADATA,
    "CompletionRequest.modalities": {"items": {"type": "string", "enum": ["text", "audio"]}},
    "CompletionRequest.model": {"minLength": 1},
    "CompletionRequest.n": {"minimum": 1, "maximum": 128},
    "CompletionRequest.presence_penalty": {"minimum": -2, "maximum": 2},
    "CompletionRequest.stop": {
        "minLength": 1,
        "maxItems": 4,
        "items": {"type": "string", "minLength": 1},
    },
    "CompletionRequest.temperature": {"minimum": 0, "maximum": 2},
    "CompletionRequest.top_logprobs": {"minimum": 0, "maximum": 20},
    "CompletionRequest.top_p": {"minimum": 0, "maximum": 1},
    "CustomDefinition.name": _NAME,
    "DeveloperMessage.content": _TEXT_PARTS,
    "FunctionDefinition.name": _NAME,
    "FunctionMessage.name": {"minLength": 1},
    "Grammar.syntax": {"enum": ["lark", "regex"]},
    "JsonSchema.name": _NAME,
    "OtherPart.type": {
        "type": "string",
        "not": {"enum": ["text", "image_url", "input_audio", "file", "refusal"]},
        "minLength": 1,
    },
    "SystemMessage.content": _TEXT_PARTS,
    "ToolMessage.content": _TEXT_PARTS,
    "UpdateRequest.metadata": _METADATA,
    "UserMessage.content": {
        "minItems": 1,
        "items": {
            "oneOf": [
                _TEXT_PART,
                {"$ref": "#/components/schemas/ImagePart"},
                {"$ref": "#/components/schemas/InputAudioPart"},
                {"$ref": "#/components/schemas/FilePart"},
                _OTHER_PART,
            ]
        },
    },
}


def description(owner: str, field: str) -> str | None:
    """None for tags (`type`, `role`, `object`), which say all by their value."""
    name = f"{owner}.{field}"
    if name in TEXTS:
        return TEXTS[name]
    said = comments()
    sources = SOURCES.get(owner, (owner,))
    found = next((said[f"{s}.{field}"] for s in sources if f"{s}.{field}" in said), None)
    if found is None:
        return None
    # The schema itself says what is required, and has an object of its own for each role.
    text = found.removesuffix(" Required.")
    said_whose, prefix, rest = text.rpartition("Assistant only")
    return rest[2:3].upper() + rest[3:] if prefix and not said_whose else text
