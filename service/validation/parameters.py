"""Rules about the other parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from diglot.v1 import tool_pb2 as t
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from ..errors import ChatError, InvalidValue, MissingValue
from ..extra import Extended, known_keys, read_finite
from .rule import more_than, outside


def token_limits(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    if request.HasField("max_tokens") and request.HasField("max_completion_tokens"):
        yield InvalidValue(
            "Set only one of 'max_tokens' and 'max_completion_tokens'.", field="max_tokens"
        )


def stop(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    yield from more_than("stop", len(request.stop), 4)
    for index, text in enumerate(request.stop):
        if not text:
            yield InvalidValue(f"Invalid 'stop[{index}]': empty string.", field=f"stop[{index}]")


def top_logprobs(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    if request.HasField("top_logprobs") and not request.logprobs:
        yield InvalidValue("'top_logprobs' needs 'logprobs' to be true.", field="top_logprobs")


def logit_bias(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    for token, bias in request.logit_bias.items():
        if token < 0:
            yield InvalidValue(f"Invalid token id {token} in 'logit_bias'.", field="logit_bias")
        yield from outside("logit_bias", bias, -100, 100)


def modalities(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    for index, modality in enumerate(request.modalities):
        if modality not in ("text", "audio"):
            yield InvalidValue(
                f"Invalid 'modalities[{index}]': expected 'text' or 'audio'.",
                field=f"modalities[{index}]",
            )


def audio(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    if "audio" in request.modalities and not request.HasField("audio"):
        yield MissingValue("The modality 'audio' needs the parameter 'audio'.", field="audio")


def prediction(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    expected = request.prediction
    if not expected.parts and request.HasField("prediction") and not expected.HasField("content"):
        yield MissingValue("'prediction' is empty.", field="prediction")
    for index, part in enumerate(expected.parts):
        if not part.HasField("text"):
            field = f"prediction.parts[{index}]"
            yield InvalidValue(f"Invalid '{field}': expected a text part.", field=field)


def metadata(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    yield from more_than("metadata", len(request.metadata), 16)
    for key, value in request.metadata.items():
        if not 1 <= len(key) <= 64 or len(value) > 512:
            yield InvalidValue(
                "Invalid 'metadata': keys have 1 to 64 characters, values up to 512.",
                field="metadata",
            )


def extra_json(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    if request.HasField("extra_json"):
        yield from _extra("extra_json", request)


def extra_keys(places: Iterable[tuple[str, Extended]]) -> Iterator[ChatError]:
    for path, part in places:
        yield from _extra(f"{path}.extra_json", part)


def _extra(field: str, part: CreateChatCompletionRequest | Extended) -> Iterator[ChatError]:
    try:
        extra = read_finite(part.extra_json)
    except ValueError:
        yield InvalidValue(f"'{field}' is not a JSON object.", field=field)
        return
    known = known_keys(type(part))
    for key in extra:
        if key in known:
            yield InvalidValue(
                f"'{key}' in '{field}' has a field of its own: set that.", field=field
            )


def offers_tools(request: CreateChatCompletionRequest) -> bool:
    """Whether the model may call any."""
    choice = request.tool_choice
    none = choice.WhichOneof("choice") == "mode" and choice.mode == t.TOOL_CHOICE_MODE_NONE
    return bool(request.tools) and not none
