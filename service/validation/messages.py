"""Rules about messages."""

from __future__ import annotations

from collections.abc import Iterator

from diglot.presence import has
from diglot.v1 import message_pb2 as m
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from ..errors import ChatError, InvalidValue, MissingValue, UnsupportedValue
from ..extra import read_finite
from .rule import Check

ROLES_OF_PART = {
    "text": {m.ROLE_DEVELOPER, m.ROLE_SYSTEM, m.ROLE_USER, m.ROLE_ASSISTANT, m.ROLE_TOOL},
    "image_url": {m.ROLE_USER, m.ROLE_TOOL},
    "input_audio": {m.ROLE_USER, m.ROLE_TOOL},
    "file": {m.ROLE_USER, m.ROLE_TOOL},
    "refusal": {m.ROLE_ASSISTANT},
}
# Whoever says it: which of their types may stand where, vendors know.
ROLES_OF_PART["other_json"] = ROLES_OF_PART["text"]
_TYPES = frozenset(ROLES_OF_PART) - {"other_json"}
_MEDIA = frozenset(("image_url", "input_audio", "file"))
_ROLES = frozenset(m.Role.values()) - {m.ROLE_UNSPECIFIED}
MAY_LACK_CONTENT = {m.ROLE_ASSISTANT, m.ROLE_FUNCTION}


_RESULTS = frozenset((m.ROLE_TOOL, m.ROLE_FUNCTION))


def notable(request: CreateChatCompletionRequest) -> frozenset[str]:
    """Which places in messages the rules have to look at: of most messages, none.

    One walk in place of one for each rule, and nothing of what is said is read.
    """
    places = set()
    # A slice is a list: several times faster to go through than protobuf's own containers.
    for message in request.messages[:]:
        role = message.role
        if role not in _ROLES:
            places.add("messages[].role")
        elif role in _RESULTS:
            places.add("messages[].tool_call_id")
        if message.parts:
            places.add("messages[].parts")
        elif not has(message, "content"):
            places.add("messages[].content")
        if message.tool_calls:
            places.add("messages[].tool_calls")
        if has(message, "extra_json") or has(message, "function_call") or message.annotations:
            places.add("messages[].extra_json")
    return frozenset(places)


def at_least_one(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    if not request.messages:
        yield MissingValue(
            "Invalid 'messages': empty array. Expected at least 1 message.", field="messages"
        )


def roles(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    for index, message in enumerate(request.messages):
        if message.role not in _ROLES:
            field = f"messages[{index}].role"
            yield MissingValue(f"Missing required parameter: '{field}'.", field=field)


def parts(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    for index, message in enumerate(request.messages):
        path = f"messages[{index}]"
        if message.parts and message.HasField("content"):
            yield InvalidValue(
                f"'{path}' has both content and parts: set one.", field=f"{path}.parts"
            )
        for place, part in enumerate(message.parts):
            kind = part.WhichOneof("part")
            where = f"{path}.parts[{place}]"
            if kind is None:
                yield MissingValue(f"'{where}' is empty: set one kind of part.", field=where)
            elif message.role not in ROLES_OF_PART[kind]:
                name = m.Role.Name(message.role)[len("ROLE_") :].lower()
                yield InvalidValue(
                    f"A {name} message cannot hold a part of type '{kind}'.", field=where
                )
            elif kind == "other_json":
                yield from _other(part, where)


def _other(part: m.ContentPart, where: str) -> Iterator[ChatError]:
    field = f"{where}.other_json"
    kind = _type(part)
    if kind is None:
        yield InvalidValue(f"'{field}' is not a JSON object with a 'type'.", field=field)
    elif kind in _TYPES:
        yield InvalidValue(
            f"A part of type '{kind}' in '{field}' has a field of its own: set that.", field=field
        )
    for beside in ("prompt_cache_breakpoint", "extra_json"):
        if part.HasField(beside):
            yield InvalidValue(
                f"'{where}' has both other_json and {beside}: say it in the former.",
                field=f"{where}.{beside}",
            )


def _type(part: m.ContentPart) -> str | None:
    """That of a part in `other_json`; None if it says none."""
    try:
        kind = read_finite(part.other_json).get("type")
    except ValueError:
        return None
    return kind if isinstance(kind, str) and kind else None


def content(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    for index, message in enumerate(request.messages):
        if message.HasField("content") or message.parts:
            continue
        field = f"messages[{index}].content"
        if message.role not in MAY_LACK_CONTENT:
            yield MissingValue(f"Missing required parameter: '{field}'.", field=field)
        if message.role == m.ROLE_ASSISTANT and not _says_otherwise(message):
            yield MissingValue(
                f"'messages[{index}]' is an assistant message without content, tool calls or "
                "refusal.",
                field=field,
            )


def _says_otherwise(message: m.Message) -> bool:
    return bool(
        message.tool_calls
        or message.HasField("function_call")
        or message.HasField("refusal")
        or message.HasField("audio")
        or message.HasField("reasoning_content")
        or message.HasField("extra_json")  # reasoning_details, as OpenRouter has a thought
    )


def results(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    for index, message in enumerate(request.messages):
        field = None
        if message.role == m.ROLE_TOOL and not message.HasField("tool_call_id"):
            field = f"messages[{index}].tool_call_id"
        if message.role == m.ROLE_FUNCTION and not message.name:
            field = f"messages[{index}].name"
        if field is not None:
            yield MissingValue(f"Missing required parameter: '{field}'.", field=field)


def calls(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    for index, message in enumerate(request.messages):
        for place, call in enumerate(message.tool_calls):
            if call.WhichOneof("call") is None:
                where = f"messages[{index}].tool_calls[{place}]"
                yield MissingValue(f"'{where}' is empty: set function or custom.", field=where)


def no_part(kind: str, name: str) -> Check:
    """For models that cannot take parts of this kind."""

    def check(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
        for index, message in enumerate(request.messages):
            for place, part in enumerate(message.parts):
                if part.WhichOneof("part") == kind:
                    yield UnsupportedValue(
                        f"This model does not take {name}.",
                        field=f"messages[{index}].parts[{place}]",
                    )

    return check


def no_media_in_results(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    for index, message in enumerate(request.messages):
        if message.role == m.ROLE_TOOL:
            for place, part in enumerate(message.parts):
                if (kind := part.WhichOneof("part")) in _MEDIA:
                    yield UnsupportedValue(
                        f"This model does not take parts of type '{kind}' in the result of a "
                        "tool: send them in a user message after it.",
                        field=f"messages[{index}].parts[{place}]",
                    )


def no_other_part(request: CreateChatCompletionRequest) -> Iterator[ChatError]:
    for index, message in enumerate(request.messages):
        for place, part in enumerate(message.parts):
            if part.HasField("other_json"):
                yield UnsupportedValue(
                    f"This model does not take parts of type '{(_type(part) or '')[:64]}'.",
                    field=f"messages[{index}].parts[{place}]",
                )
