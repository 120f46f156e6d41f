"""Rules about messages."""

from __future__ import annotations

from collections.abc import Iterator

from diglot.v1 import message_pb2 as m
from diglot.v1.chat_pb2 import CreateChatCompletionRequest

from ..errors import ChatError, InvalidValue, MissingValue, UnsupportedValue
from .rule import Check

ROLES_OF_PART = {
    "text": {m.ROLE_DEVELOPER, m.ROLE_SYSTEM, m.ROLE_USER, m.ROLE_ASSISTANT, m.ROLE_TOOL},
    "image_url": {m.ROLE_USER},
    "input_audio": {m.ROLE_USER},
    "file": {m.ROLE_USER},
    "refusal": {m.ROLE_ASSISTANT},
}
_ROLES = frozenset(m.Role.values()) - {m.ROLE_UNSPECIFIED}
MAY_LACK_CONTENT = {m.ROLE_ASSISTANT, m.ROLE_FUNCTION}


_RESULTS = frozenset((m.ROLE_TOOL, m.ROLE_FUNCTION))


def notable(request: CreateChatCompletionRequest) -> Iterator[str]:
    """Which places in messages the rules have to look at: of most messages, none.

    One walk in place of one for each rule, and nothing of what is said is read.
    """
    for message in request.messages:
        role = message.role
        if role not in _ROLES:
            yield "messages[].role"
        elif role in _RESULTS:
            yield "messages[].tool_call_id"
        if message.parts:
            yield "messages[].parts"
        elif not message.HasField("content"):
            yield "messages[].content"
        if message.tool_calls:
            yield "messages[].tool_calls"
        if (
            message.HasField("extra_json")
            or message.HasField("function_call")
            or message.annotations
        ):
            yield "messages[].extra_json"


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
